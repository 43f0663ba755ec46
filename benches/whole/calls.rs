//! Commands that only look: `machine inspect` and `machine list`.

use std::io;
use std::process::Command;

use super::children;
use super::machine::{Machine, SHORT};
use super::report::{Aim, Figure, Row};
use super::say;
use super::settings::Settings;

/// In seconds.
const AIM: f64 = 0.010;

/// In seconds, of a start that does nothing.
const AIM_VERSION: f64 = 0.003;

/// Runs before those that count.
const WARM_UP: usize = 2;

pub fn rows(settings: &Settings, machine: &Machine) -> anyhow::Result<Vec<Row>> {
    say("inspect and list");
    let podman = Podman::find();
    let mut inspect = machine.verb("inspect");
    let mut list = machine.nsvm(["machine", "list"]);
    let mut version = machine.nsvm(["--version"]);
    let mut theirs = podman.command();
    let mut samples = [vec![], vec![], vec![], vec![]];
    for round in 0..WARM_UP + settings.calls {
        let commands = [Some(&mut inspect), Some(&mut list), Some(&mut version), theirs.as_mut()];
        for (command, samples) in commands.into_iter().zip(&mut samples) {
            let Some(command) = command else { continue };
            let wall = children::run(command, SHORT)?.wall.as_secs_f64();
            if round >= WARM_UP {
                samples.push(wall);
            }
        }
    }
    let [inspect, list, version, theirs] = &samples;
    let row = |what: &str, ours: &[f64], peer: String, theirs, aim| Row {
        what: what.into(),
        ours: Figure::times(ours),
        peer,
        theirs,
        aim: Aim::Under(aim),
    };
    Ok(vec![
        row("`nsvm machine inspect`", inspect, podman.peer(), Figure::times(theirs), AIM),
        row("`nsvm machine list`", list, String::new(), Figure::Absent, AIM),
        row("`nsvm --version`", version, String::new(), Figure::Absent, AIM_VERSION),
    ])
}

/// Whether `podman machine inspect` can be compared with.
#[derive(Debug, Clone, Copy)]
enum Podman {
    NotInstalled,
    /// It has nothing to inspect, or does not work.
    NoMachine,
    Works,
}

impl Podman {
    fn find() -> Self {
        match Command::new("podman").args(["machine", "inspect"]).output() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Self::NotInstalled,
            Ok(output) if output.status.success() => Self::Works,
            _ => Self::NoMachine,
        }
    }

    fn command(self) -> Option<Command> {
        let mut command = Command::new("podman");
        command.args(["machine", "inspect"]);
        matches!(self, Self::Works).then_some(command)
    }

    fn peer(self) -> String {
        let reason = match self {
            Self::NotInstalled => ": not installed",
            Self::NoMachine => ": no machine",
            Self::Works => "",
        };
        format!("`podman machine inspect`{reason}")
    }
}
