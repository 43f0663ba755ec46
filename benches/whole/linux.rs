//! The order of the measurements.

mod bare;
mod calls;
mod children;
mod command;
mod copies;
mod flow;
mod footprint;
mod host;
mod images;
mod machine;
mod monitor;
mod named;
mod proc;
mod report;
mod settings;
mod ssh;
mod start;
mod stats;
mod suspend;

use std::process::ExitCode;

use machine::Machine;
use settings::{Only, Settings};
use ssh::Ssh;

pub fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Locals are dropped last first, which ends processes before the directory
/// with their files goes.
fn measure() -> anyhow::Result<()> {
    children::heed_signals()?;
    let settings = Settings::from_environment()?;
    let load = host::load();
    let dir = tempfile::Builder::new().prefix("nsvm-bench-").tempdir()?;
    if settings.only == Some(Only::Images) {
        let rows = images::rows(&settings, &dir.path().join("pull"))?;
        println!("{}\n\n{}", host::line(&settings, None, &load)?, report::table(&rows));
        println!("{}", images::NOTES);
        return Ok(());
    }
    if settings.only == Some(Only::Templates) {
        let rows = copies::rows(&settings, &dir.path().join("copies"))?;
        println!("{}\n\n{}", host::line(&settings, None, &load)?, report::table(&rows));
        return Ok(());
    }
    let machine = Machine::init(&settings, dir.path().join("home"))?;

    let (mut bare, qemu) = start::prepare(&machine, &dir.path().join("bare"))?;
    if settings.only == Some(Only::Suspend) {
        let rows = suspend::rows(&settings, &machine, &mut bare)?;
        println!("{}\n\n{}", host::line(&settings, Some(&qemu), &load)?, report::table(&rows));
        return Ok(());
    }
    let mut rows = start::rows(&settings, &machine, &mut bare)?;
    rows.extend(suspend::rows(&settings, &machine, &mut bare)?);

    say("Starting the machine for the commands");
    machine.start_wholly()?;
    let ssh = Ssh::of(&machine.facts()?, dir.path())?;
    let mut all = || {
        rows.extend(command::rows(&settings, &machine, &ssh)?);
        rows.extend(named::rows(&settings, &machine, &ssh)?);
        rows.extend(calls::rows(&settings, &machine)?);
        rows.extend(footprint::rows(&settings, &machine, &ssh)?);
        rows.extend(flow::rows(&settings, &machine, &ssh, dir.path())?);
        rows.extend(footprint::after_many(&machine, &ssh)?);
        machine.stop()?;
        if settings.only.is_none() {
            rows.extend(images::rows(&settings, &dir.path().join("pull"))?);
        }
        anyhow::Ok(())
    };
    // What was measured before something went wrong is worth reading.
    let ended = all();
    let mut notes = report::notes(bare.arguments(), bare.silent_boots());
    if settings.only.is_none() {
        notes += images::NOTES;
    }

    println!("# Measured by `make bench`\n\n{}\n", host::line(&settings, Some(&qemu), &load)?);
    println!("{}", report::table(&rows));
    println!("{notes}");
    ended
}

/// Tells whoever waits what is being done.
fn say(what: &str) {
    eprintln!("bench: {what}");
}
