//! A named namespace in the running guest: made, entered, and entered by many
//! at once.

use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::Instant;

use anyhow::ensure;
use serde_json::Value;

use super::children::{self, Heed};
use super::machine::{Machine, SHORT};
use super::report::{Aim, Figure, Row};
use super::say;
use super::settings::Settings;
use super::ssh::Ssh;

/// Runs before those that count.
const WARM_UP: usize = 3;

/// As many as the issue asks for: more than one user has terminals.
const AT_ONCE: usize = 50;

const NAME: &str = "bench";

pub fn rows(settings: &Settings, machine: &Machine, ssh: &Ssh) -> anyhow::Result<Vec<Row>> {
    say("Named namespaces");
    let making = making(settings, machine)?;
    children::run(&mut machine.nsvm(["ns", "create", NAME]), SHORT)?;
    let [entering, by_ssh] = entering(settings, machine, ssh)?;
    let at_once = at_once(settings, machine)?;
    children::run(&mut machine.nsvm(["ns", "rm", NAME]), SHORT)?;
    let alone = |what: String, ours: &[f64]| Row {
        what,
        ours: Figure::times(ours),
        peer: String::new(),
        theirs: Figure::Absent,
        aim: Aim::None,
    };
    Ok(vec![
        alone("`nsvm ns create`, all eight kinds".into(), &making),
        Row {
            what: "`nsvm ns exec NAME true`".into(),
            ours: Figure::times(&entering),
            peer: "`nsenter` by `ssh`, ControlMaster open".into(),
            theirs: Figure::times(&by_ssh),
            aim: Aim::Times,
        },
        alone(format!("{AT_ONCE} of these at once, until the last has ended"), &at_once),
    ])
}

fn making(settings: &Settings, machine: &Machine) -> anyhow::Result<Vec<f64>> {
    let mut samples = Vec::new();
    for round in 0..WARM_UP + settings.commands {
        let made = children::run(&mut machine.nsvm(["ns", "create", NAME]), SHORT)?;
        children::run(&mut machine.nsvm(["ns", "rm", NAME]), SHORT)?;
        samples.extend((round >= WARM_UP).then_some(made.wall.as_secs_f64()));
    }
    Ok(samples)
}

/// Ours, and the guest's own nsenter(1) told by hand what to enter.
fn entering(settings: &Settings, machine: &Machine, ssh: &Ssh) -> anyhow::Result<[Vec<f64>; 2]> {
    let shown = children::run(&mut machine.nsvm(["ns", "inspect", NAME]), SHORT)?.stdout;
    let shown: Value = serde_json::from_str(&shown)?;
    let pid = shown[0]["Pid"].to_string();
    let master = ssh.master()?;
    let mut theirs = master.command();
    theirs.args(["nsenter", "-t", &pid, "--preserve-credentials"]);
    theirs.args(["-U", "-m", "-u", "-i", "-n", "-p", "-C", "-T", "true"]);
    let mut ours = machine.nsvm(["ns", "exec", NAME, "true"]);
    let mut samples = [vec![], vec![]];
    for round in 0..WARM_UP + settings.commands {
        for (command, samples) in [&mut ours, &mut theirs].into_iter().zip(&mut samples) {
            let wall = children::run(command, SHORT)?.wall.as_secs_f64();
            samples.extend((round >= WARM_UP).then_some(wall));
        }
    }
    Ok(samples)
}

/// From the start of the first to the end of the last.
fn at_once(settings: &Settings, machine: &Machine) -> anyhow::Result<Vec<f64>> {
    let mut samples = Vec::new();
    // Each is worth fifty of the others.
    for _ in 0..settings.commands.div_ceil(8) {
        let begun = Instant::now();
        let mut all = Vec::new();
        for _ in 0..AT_ONCE {
            let mut command = machine.nsvm(["ns", "exec", NAME, "true"]);
            // So that it can be ended like the others.
            command.process_group(0);
            all.push(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        }
        let ends: Vec<_> =
            all.iter_mut().map(|child| children::wait(child, SHORT, Heed::Signals)).collect();
        samples.push(begun.elapsed().as_secs_f64());
        for (end, child) in ends.into_iter().zip(&mut all) {
            match end {
                Ok(status) => ensure!(status.success(), "one of {AT_ONCE} ended with {status}"),
                Err(e) => {
                    children::end(child);
                    return Err(e);
                }
            }
        }
    }
    Ok(samples)
}
