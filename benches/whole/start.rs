//! From powered off to usable: nsvm's machine against the bare QEMU line.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;

use super::bare::Bare;
use super::children;
use super::machine::{Facts, Machine, SHORT};
use super::report::{Aim, Figure, Row};
use super::settings::Settings;
use super::{proc, say};

/// How much above the bare line a start may be, in seconds.
const AIM: f64 = 1.0;

/// Gives both guests their first boot. Also tells which QEMU runs them.
pub fn prepare(machine: &Machine, dir: &Path) -> anyhow::Result<(Bare, PathBuf)> {
    fs::create_dir(dir)?;
    let facts = machine.facts()?;
    let pristine = dir.join("pristine");
    fs::copy(&facts.overlay, &pristine)?;
    say("First boot of the machine");
    machine.start()?;
    let argv = facts.qemu()?.argv;
    machine.stop()?;
    say("First boot of the bare guest");
    let mut bare = Bare::like(&argv, facts, dir, &pristine)?;
    bare.boot()?;
    bare.stop()?;
    let qemu = bare.program().to_owned();
    Ok((bare, qemu))
}

/// Samples of one side, in seconds.
#[derive(Debug, Default)]
struct Side {
    wall: Vec<f64>,
    cpu: Vec<f64>,
    /// Until a first command has run, where that is later.
    command: Vec<f64>,
}

/// Starts one after the other, in turn.
pub fn rows(settings: &Settings, machine: &Machine, bare: &mut Bare) -> anyhow::Result<Vec<Row>> {
    let (mut ours, mut theirs) = (Side::default(), Side::default());
    let facts = machine.facts()?;
    let mut accelerator = None;
    for round in 1..=settings.starts {
        accelerator =
            our_start(machine, &facts, &mut ours).with_context(|| format!("start {round}"))?;
        settle(|| machine.stop())?;
        let boot = bare.boot().with_context(|| format!("bare start {round}"))?;
        theirs.wall.push(boot.wall.as_secs_f64());
        theirs.cpu.push(boot.cpu);
        settle(|| bare.stop())?;
        let (our, their) = (ours.wall[round - 1], theirs.wall[round - 1]);
        say(&format!("Start {round} of {}: {our:.2} s, bare {their:.2} s", settings.starts));
    }
    Ok(table(&ours, &theirs, accelerator.as_deref().unwrap_or("unknown accelerator")))
}

/// Returns the accelerator in use.
fn our_start(machine: &Machine, facts: &Facts, side: &mut Side) -> anyhow::Result<Option<String>> {
    let start = Instant::now();
    side.wall.push(machine.start()?.wall.as_secs_f64());
    side.cpu.push(proc::cpu_seconds(facts.qemu()?.pid)?);
    children::run(&mut machine.nsvm(["exec", "true"]), SHORT)?;
    side.command.push(start.elapsed().as_secs_f64());
    Ok(machine.facts()?.accelerator)
}

/// Powers off and lets the disk come to rest, so that the next start is alone.
fn settle(stop: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    stop()?;
    rustix::fs::sync();
    Ok(())
}

fn table(ours: &Side, theirs: &Side, accelerator: &str) -> Vec<Row> {
    let peer = "bare QEMU to first `ssh true`";
    let row = |what: String, ours: &[f64], theirs: &[f64], aim| Row {
        what,
        ours: Figure::times(ours),
        peer: peer.into(),
        theirs: Figure::times(theirs),
        aim,
    };
    vec![
        row(
            format!("off to agent ready ({accelerator}), wall"),
            &ours.wall,
            &theirs.wall,
            Aim::AtMostAbove(AIM),
        ),
        row("the same, CPU time of QEMU".into(), &ours.cpu, &theirs.cpu, Aim::Above),
        row(
            "off to first `nsvm exec true` done, wall".into(),
            &ours.command,
            &theirs.wall,
            Aim::Above,
        ),
    ]
}
