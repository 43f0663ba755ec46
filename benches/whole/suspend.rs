//! Suspending and resuming, beside QEMU's own migration to a file and back.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;

use super::bare::Bare;
use super::children;
use super::machine::{Machine, SHORT};
use super::report::{Aim, Figure, Row};
use super::say;
use super::settings::Settings;

/// In seconds.
const SUSPEND_AIM: f64 = 0.5;
const RESUME_AIM: f64 = 0.8;

/// Samples of one side: seconds, and bytes on the disk.
#[derive(Debug, Default)]
struct Side {
    suspend: Vec<f64>,
    resume: Vec<f64>,
    taken: u64,
}

/// Both guests run when this begins and when it ends, each alone while it is
/// measured.
pub fn rows(settings: &Settings, machine: &Machine, bare: &mut Bare) -> anyhow::Result<Vec<Row>> {
    let (mut ours, mut theirs, mut woken) = (Side::default(), Side::default(), Vec::new());
    machine.start_wholly()?;
    machine.suspend()?;
    bare.without_sandbox();
    bare.boot()?;
    bare.suspend()?;
    for round in 1..=settings.starts {
        let about = || format!("suspend {round}");
        resume(machine, &mut ours).with_context(about)?;
        rustix::fs::sync();
        ours.suspend.push(machine.suspend().with_context(about)?.wall.as_secs_f64());
        ours.taken = taken(&machine.memory()?)?;
        theirs.resume.push(bare.resume().with_context(about)?.wall.as_secs_f64());
        rustix::fs::sync();
        theirs.suspend.push(bare.suspend().with_context(about)?.as_secs_f64());
        theirs.taken = taken(&bare.memory())?;
        machine.start()?;
        machine.fall_asleep().with_context(about)?;
        let start = Instant::now();
        children::run(&mut machine.nsvm(["exec", "true"]), SHORT)?;
        woken.push(start.elapsed().as_secs_f64());
        machine.suspend()?;
        let (our, their) = (ours.resume[round - 1], theirs.resume[round - 1]);
        say(&format!("Resumption {round} of {}: {our:.2} s, bare {their:.2} s", settings.starts));
    }
    machine.start()?;
    machine.stop()?;
    bare.resume()?;
    bare.stop()?;
    Ok(table(&ours, &theirs, &woken))
}

/// From `machine start` to the end of a first command.
fn resume(machine: &Machine, side: &mut Side) -> anyhow::Result<()> {
    let start = Instant::now();
    machine.start()?;
    children::run(&mut machine.nsvm(["exec", "true"]), SHORT)?;
    side.resume.push(start.elapsed().as_secs_f64());
    Ok(())
}

fn taken(file: &Path) -> anyhow::Result<u64> {
    let found = fs::metadata(file).with_context(|| format!("looking at {}", file.display()))?;
    Ok(found.blocks() * 512)
}

fn table(ours: &Side, theirs: &Side, woken: &[f64]) -> Vec<Row> {
    let bare = "bare QEMU, `migrate` to a file";
    vec![
        Row {
            what: "suspend of 1 GiB, wall".into(),
            ours: Figure::times(&ours.suspend),
            peer: bare.into(),
            theirs: Figure::times(&theirs.suspend),
            aim: Aim::Under(SUSPEND_AIM),
        },
        Row {
            what: "resume: `machine start` to first `nsvm exec true` done".into(),
            ours: Figure::times(&ours.resume),
            peer: "bare QEMU, from that file to first `ssh true`".into(),
            theirs: Figure::times(&theirs.resume),
            aim: Aim::Under(RESUME_AIM),
        },
        Row {
            what: "`nsvm exec true` in a machine that was idle".into(),
            ours: Figure::times(woken),
            peer: "the same".into(),
            theirs: Figure::times(&theirs.resume),
            aim: Aim::Above,
        },
        Row {
            what: "disk that a suspended machine takes beside its own".into(),
            ours: Figure::Size(ours.taken),
            peer: bare.into(),
            theirs: Figure::Size(theirs.taken),
            aim: Aim::None,
        },
    ]
}
