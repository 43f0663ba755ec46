//! Waiting until something of a machine is up.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use jiff::Timestamp;

use super::capture::Capture;
use super::run::{self, not_running};
use super::session::Stdio;
use super::{Context, Place, Refusal, awake};
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::protocol::request::{ExecRequest, UserSpec};

/// How often the machine is looked at: reading its locks costs next to nothing.
const STATUS_POLL: Duration = Duration::from_millis(50);

/// An sshd comes up within a second of the agent, on a busy host a few.
const SSHD_COMES: Duration = Duration::from_secs(15);

/// How often the guest is asked about a unit: each costs it two processes.
const UNIT_POLL: Duration = Duration::from_millis(500);

/// A systemctl that does not answer is given up in the guest after this.
const SYSTEMCTL_SECONDS: &str = "10";

/// `systemctl show` answers with one word.
const ANSWER_MAX: usize = 4096;

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// The guest's SSH server answers.
    Ssh,
    /// The guest agent runs commands.
    Agent,
    /// A systemd unit of the guest is active.
    Unit(String),
    /// systemd has nothing left to start: commands may run long before.
    System,
}

/// When to give up.
#[derive(Debug, Clone, Copy)]
pub struct Patience<'a> {
    pub timeout: Duration,
    pub interrupted: &'a AtomicBool,
}

/// Returns when it is up. A machine that is not running, nor being started, is
/// an error at once, and so is a unit that has failed.
pub fn wait(
    context: &Context,
    name: &MachineName,
    awaited: &Awaited,
    patience: Patience<'_>,
) -> anyhow::Result<()> {
    let end = Instant::now() + patience.timeout;
    context.store.load(name)?;
    let pause = |length: Duration, last: &str| pause(name, patience, end, length, last);
    loop {
        match context.store.status(name) {
            Status::Running => break,
            Status::Starting => pause(STATUS_POLL, "it is being started")?,
            Status::Broken { reasons } => {
                return Err(
                    Refusal::new(format!("machine \"{name}\": {}", reasons.join("; "))).into()
                );
            }
            Status::Suspended if awake::is_asleep(context, name) => awake::wake(context, name)?,
            Status::Stopped | Status::Suspended => return Err(not_running(name).into()),
        }
    }
    let place = || Place::Machine { context: Box::new(context.clone()), name: name.clone() };
    match awaited {
        Awaited::Ssh => {
            while sshd_awaited(context, name) {
                pause(STATUS_POLL, "its SSH server does not answer")?;
            }
            Ok(())
        }
        // Waits for the link by itself, and says why there is none.
        Awaited::Agent => run::info(&place()).map(drop),
        Awaited::Unit(unit) => loop {
            match unit_state(&place(), name, unit)?.as_str() {
                "active" | "reloading" => return Ok(()),
                "failed" => return Err(failed(name, unit).into()),
                state => pause(UNIT_POLL, &format!("unit \"{unit}\" is {state}"))?,
            }
        },
        Awaited::System => loop {
            match system_state(&place(), name)?.as_str() {
                "running" => return Ok(()),
                state @ ("degraded" | "maintenance" | "stopping") => {
                    return Err(not_well(name, state).into());
                }
                state => pause(UNIT_POLL, &format!("its system is {state}"))?,
            }
        },
    }
}

/// For those who are about to come by SSH: what runs commands may be up a moment
/// before its sshd. Whether that answers, or has not within some seconds after the
/// start, is theirs to see.
pub fn let_sshd_come(context: &Context, name: &MachineName) {
    let end = Instant::now() + SSHD_COMES;
    let just_up = || {
        let up = context.store.history(name).last_up;
        up.is_some_and(|up| Timestamp::now().duration_since(up).unsigned_abs() < SSHD_COMES)
    };
    while just_up() && sshd_awaited(context, name) && Instant::now() < end {
        std::thread::sleep(STATUS_POLL);
    }
}

fn sshd_awaited(context: &Context, name: &MachineName) -> bool {
    let run = context.store.run_record(name);
    context.store.status(name) == Status::Running && run.is_some_and(|run| run.sshd_awaited)
}

fn pause(
    name: &MachineName,
    patience: Patience<'_>,
    end: Instant,
    length: Duration,
    last: &str,
) -> Result<(), Refusal> {
    if patience.interrupted.load(Ordering::Relaxed) {
        return Err(Refusal::new("the wait was interrupted"));
    }
    if Instant::now() >= end {
        let seconds = patience.timeout.as_secs();
        return Err(Refusal::new(format!("machine \"{name}\": after {seconds} s {last}"))
            .hint(format!("See `nsvm machine logs {name}`, or use a longer --timeout")));
    }
    std::thread::sleep(length);
    Ok(())
}

fn failed(name: &MachineName, unit: &str) -> Refusal {
    Refusal::new(format!("unit \"{unit}\" of machine \"{name}\" has failed"))
        .hint(format!("See `nsvm machine ssh {name} systemctl status {unit}`"))
}

fn not_well(name: &MachineName, state: &str) -> Refusal {
    Refusal::new(format!("machine \"{name}\" is up, but its system is {state}"))
        .hint(format!("See `nsvm machine ssh {name} systemctl --failed`"))
}

fn no_systemd(name: &MachineName) -> Refusal {
    Refusal::new(format!("machine \"{name}\" is up, but its image has no systemd to wait for"))
        .hint("Wait for `agent`, or use another --image")
}

/// The unit's `ActiveState` (systemd.unit(5)); "inactive" when there is none.
fn unit_state(place: &Place, name: &MachineName, unit: &str) -> anyhow::Result<String> {
    ask_systemd(place, name, &["show", "-PActiveState", "--", unit])
}

/// As `systemctl is-system-running` says it; "offline" before systemd is there.
fn system_state(place: &Place, name: &MachineName) -> anyhow::Result<String> {
    ask_systemd(place, name, &["is-system-running"])
}

/// Its one word. A guest may run commands before its systemd listens.
fn ask_systemd(place: &Place, name: &MachineName, what: &[&str]) -> anyhow::Result<String> {
    let taken = Capture::up_to(ANSWER_MAX);
    let stdio = Stdio {
        stdin: Box::new(io::empty()),
        stdout: Box::new(taken.clone()),
        stderr: Box::new(io::stderr()),
    };
    let script = "command -v systemctl >/dev/null || exec echo none
        [ -S /run/systemd/private ] || exec echo offline
        exec timeout \"$@\"";
    let ask = ["sh", "-c", script, "sh", SYSTEMCTL_SECONDS, "systemctl"];
    let mut request = ExecRequest::new([&ask[..], what].concat());
    request.user = Some(UserSpec { user: "root".into(), group: None });
    let outcome = run::run_on(place, request, stdio)?;
    let text = taken.bytes().unwrap_or_default();
    let word = String::from_utf8_lossy(&text).trim().to_owned();
    // systemctl(1) exits with 1 for every state but "running".
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_lowercase()) {
        bail!("systemd of machine \"{name}\" does not answer ({outcome:?})");
    }
    if word == "none" {
        return Err(no_systemd(name).into());
    }
    Ok(word)
}
