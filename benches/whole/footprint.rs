//! What nsvm takes while it does nothing: the agent's size, and memory of the
//! processes that stay.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::children;
use super::machine::{Machine, SHORT};
use super::proc;
use super::report::{Aim, Figure, Row};
use super::say;
use super::settings::Settings;
use super::ssh::Ssh;

const AIM: u64 = 3 << 20;

/// Of memory, in bytes.
const SUPERVISOR_AIM: u64 = 15 << 20;
const AGENT_AIM: u64 = 6 << 20;

/// Memory of the commands before is given back by then.
const IDLE: Duration = Duration::from_secs(3);

/// A line of arguments and one of memory for each process of the agent.
const AGENTS: &str = "for p in $(pgrep -x nsvm-agent); do \
    tr '\\0' ' ' </proc/$p/cmdline; echo; grep VmRSS: /proc/$p/status; done";

pub fn rows(settings: &Settings, machine: &Machine, ssh: &Ssh) -> anyhow::Result<Vec<Row>> {
    say("Sizes");
    children::sleep(IDLE)?;
    let mut rows = vec![
        size(
            "`nsvm-agent`, the file".into(),
            fs::metadata(&settings.agent)?.len(),
            Aim::UnderSize(AIM),
        ),
        size("supervisor, idle, RSS".into(), proc::rss(machine.supervisor()?.pid)?, Aim::None),
    ];
    // Not by nsvm: then the agent would not be idle.
    let agents = ssh.fresh(&[AGENTS], SHORT)?.stdout;
    ensure!(!agents.is_empty(), "there is no agent in the guest");
    let mut lines = agents.lines();
    while let (Some(words), Some(memory)) = (lines.next(), lines.next()) {
        let verb = words.split_whitespace().nth(1).unwrap_or_default();
        let memory = proc::rss_of(memory).context("reading the agent's memory")?;
        rows.push(size(format!("`nsvm-agent {verb}`, idle, RSS"), memory, Aim::None));
    }
    Ok(rows)
}

/// Commands after which nothing may have grown.
const MANY: usize = 1000;

/// The same of supervisor and agent after many commands.
pub fn after_many(machine: &Machine, ssh: &Ssh) -> anyhow::Result<Vec<Row>> {
    say("A thousand commands");
    let mut command = machine.nsvm(["exec", "true"]);
    for _ in 0..MANY {
        children::run(&mut command, SHORT)?;
    }
    children::sleep(IDLE)?;
    let script = "grep VmRSS: /proc/$(pgrep -xf '/usr/local/libexec/nsvm-agent serve')/status";
    let agent = ssh.fresh(&[script], SHORT)?.stdout;
    let agent = proc::rss_of(&agent).context("reading the agent's memory")?;
    Ok(vec![
        size(
            format!("supervisor after {MANY} more commands, RSS"),
            proc::rss(machine.supervisor()?.pid)?,
            Aim::UnderSize(SUPERVISOR_AIM),
        ),
        size(
            format!("`nsvm-agent serve` after {MANY} more commands, RSS"),
            agent,
            Aim::UnderSize(AGENT_AIM),
        ),
    ])
}

fn size(what: String, bytes: u64, aim: Aim) -> Row {
    Row { what, ours: Figure::Size(bytes), peer: String::new(), theirs: Figure::Absent, aim }
}
