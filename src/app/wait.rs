//! Waiting until something of a machine is up.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;

use super::capture::Capture;
use super::run::{self, not_running};
use super::session::Stdio;
use super::{Context, Place, Refusal};
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::protocol::outcome::Outcome;
use crate::protocol::request::{ExecRequest, UserSpec};

/// How often the machine is looked at: reading its locks costs next to nothing.
const STATUS_POLL: Duration = Duration::from_millis(50);

/// How often the guest is asked about a unit: each costs it two processes.
const UNIT_POLL: Duration = Duration::from_millis(500);

/// A systemctl that does not answer is given up in the guest after this.
const SYSTEMCTL_SECONDS: &str = "10";

/// `systemctl show` answers with one word.
const ANSWER_MAX: usize = 4096;

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// The guest's SSH server answers: the machine is running.
    Ssh,
    /// The guest agent runs commands.
    Agent,
    /// A systemd unit of the guest is active.
    Unit(String),
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
            Status::Stopped | Status::Suspended => return Err(not_running(name).into()),
        }
    }
    let place = || Place::Machine { context: Box::new(context.clone()), name: name.clone() };
    match awaited {
        Awaited::Ssh => Ok(()),
        // Waits for the link by itself, and says why there is none.
        Awaited::Agent => run::info(&place()).map(drop),
        Awaited::Unit(unit) => loop {
            match unit_state(&place(), name, unit)?.as_str() {
                "active" | "reloading" => return Ok(()),
                "failed" => return Err(failed(name, unit).into()),
                state => pause(UNIT_POLL, &format!("unit \"{unit}\" is {state}"))?,
            }
        },
    }
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

/// The unit's `ActiveState` (systemd.unit(5)); "inactive" when there is none.
fn unit_state(place: &Place, name: &MachineName, unit: &str) -> anyhow::Result<String> {
    let taken = Capture::up_to(ANSWER_MAX);
    let stdio = Stdio {
        stdin: Box::new(io::empty()),
        stdout: Box::new(taken.clone()),
        stderr: Box::new(io::stderr()),
    };
    let ask = ["timeout", SYSTEMCTL_SECONDS, "systemctl", "show", "-PActiveState", "--", unit];
    let mut request = ExecRequest::new(ask);
    request.user = Some(UserSpec { user: "root".into(), group: None });
    let outcome = run::run_on(place, request, stdio)?;
    let text = taken.bytes().unwrap_or_default();
    let state = String::from_utf8_lossy(&text).trim().to_owned();
    if outcome != Outcome::Exited(0) || !state.bytes().all(|byte| byte.is_ascii_lowercase()) {
        bail!("machine \"{name}\" does not tell the state of unit \"{unit}\" ({outcome:?})");
    }
    Ok(state)
}
