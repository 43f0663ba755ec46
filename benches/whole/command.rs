//! One command in the running guest: by nsvm, by an `ssh` that shares an open
//! connection, and by the guest itself.

use std::process::Command;

use anyhow::Context as _;

use super::children;
use super::machine::{Machine, SHORT};
use super::report::{Aim, Figure, Row};
use super::say;
use super::settings::Settings;
use super::ssh::Ssh;

/// Of the time by `ssh`.
const AIM: f64 = 0.5;

/// Seconds above the guest's own loop.
const AIM_ABOVE: f64 = 0.005;

/// Runs before those that count: the guest's page cache, QEMU's translations.
const WARM_UP: usize = 3;

const UNSHARE: [&str; 7] =
    ["unshare", "--user", "--pid", "--map-root-user", "--mount-proc", "--fork", "true"];

/// Microseconds of each run of the words after the count. Bash reads its clock
/// without a process; `type -P` is for the program where bash has a builtin.
const LOOP: &str = "n=$1; p=$(type -P \"$2\"); shift 2; \
    for ((i = 0; i < n; i++)); do s=${EPOCHREALTIME/./}; \"$p\" \"$@\" || exit; \
    e=${EPOCHREALTIME/./}; echo $((e - s)); done";

/// Samples of one command, in seconds.
#[derive(Debug, Default)]
struct Samples {
    nsvm: Vec<f64>,
    ssh: Vec<f64>,
    local: Vec<f64>,
}

pub fn rows(settings: &Settings, machine: &Machine, ssh: &Ssh) -> anyhow::Result<Vec<Row>> {
    say("Commands in the guest");
    let master = ssh.master()?;
    let by_nsvm = [machine.nsvm(UNSHARE), machine.nsvm(["exec", "true"])];
    let words = [&UNSHARE[..], &UNSHARE[6..]];
    let by_ssh = words.map(|words| {
        let mut command = master.command();
        command.args(words);
        command
    });
    let mut pairs: Vec<_> = by_nsvm.into_iter().zip(by_ssh).collect();
    let mut samples = [Samples::default(), Samples::default()];
    for round in 0..WARM_UP + settings.commands {
        for ((nsvm, ssh), samples) in pairs.iter_mut().zip(&mut samples) {
            let (nsvm, ssh) = (seconds(nsvm)?, seconds(ssh)?);
            if round >= WARM_UP {
                samples.nsvm.push(nsvm);
                samples.ssh.push(ssh);
            }
        }
    }
    for (words, samples) in words.iter().zip(&mut samples) {
        samples.local = in_guest(machine, settings.commands, words)?;
    }
    let [unshare, true_] = samples;
    let aims = [Aim::AtMostTimes(AIM), Aim::AtMostAbove(AIM_ABOVE)];
    let rows = table(&UNSHARE.join(" "), &unshare, aims);
    Ok([rows, table("exec true", &true_, [Aim::Times, Aim::Above])].concat())
}

fn seconds(command: &mut Command) -> anyhow::Result<f64> {
    Ok(children::run(command, SHORT)?.wall.as_secs_f64())
}

/// The same in a loop that runs and is timed in the guest.
fn in_guest(machine: &Machine, count: usize, words: &[&str]) -> anyhow::Result<Vec<f64>> {
    let total = count + WARM_UP;
    let mut command = machine.nsvm(["exec", "bash", "-c", LOOP, "loop", &total.to_string()]);
    let ran = children::run(command.args(words), SHORT * 5)?;
    let times = ran.stdout.lines().skip(WARM_UP).map(|line| Ok(line.parse::<f64>()? / 1e6));
    times.collect::<anyhow::Result<_>>().context("reading the guest's times")
}

/// Beside `ssh`, and beside the guest itself.
fn table(command: &str, samples: &Samples, aims: [Aim; 2]) -> Vec<Row> {
    let row = |what, ours, peer: &str, theirs: &[f64], aim| Row {
        what,
        ours,
        peer: peer.into(),
        theirs: Figure::times(theirs),
        aim,
    };
    let ours = Figure::times(&samples.nsvm);
    vec![
        row(format!("`nsvm {command}`"), ours, "`ssh`, ControlMaster open", &samples.ssh, aims[0]),
        row("the same".into(), ours, "the guest's own loop", &samples.local, aims[1]),
    ]
}
