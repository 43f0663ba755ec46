//! A guest that is the beginning of many machines: it is made nobody's and
//! saved, and each copy of it that goes on becomes one of them.
//!
//! ```text
//! freeze --starts--> frozen: sshd stands, forget -> "frozen" -> (saved; a copy goes on)
//!                    -> owner -> reseed, clock -> become -> "ready"
//!                    -> sshd anew -> "ready"
//! ```
//!
//! All of that goes over the virtio port, before anybody can log in: at that
//! moment the guest lets nobody in, and its random numbers are those of every
//! other copy. Those of its sshd too: that stands still until it begins anew.

mod identity;
mod line;
mod sshd;

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use identity::Identity;
use sshd::Sshd;

use super::port::Port;
use super::wake::reseed;
use super::{clock, sys};
use crate::protocol::frozen::{self, FAILED, FROZEN, Owner};
use crate::protocol::port::READY;

/// The links of before end within this time, or are ended.
const LEAVING: Duration = Duration::from_secs(10);

/// The first command has the processor for itself so long before sshd begins anew.
const FIRST_COMMAND: Duration = Duration::from_millis(300);

/// Nobody waits for what is left to do then.
const QUIET: Duration = Duration::from_secs(3);

/// Sees whether this guest can be frozen, and starts the process that does it
/// as soon as the link it came by is gone. `user_key`: who it belongs to now.
pub fn freeze(user_key: &str) -> io::Result<()> {
    Port::find(READY)?;
    Sshd::find()?;
    Identity::find("/".as_ref(), user_key)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["frozen", user_key]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop)
}

/// That process.
pub fn frozen(user_key: &str) -> io::Result<()> {
    // The link's end hangs up on what came by it.
    rustix::process::setsid()?;
    sys::default_signals();
    let (port, sshd) = (Port::find(READY)?, Sshd::find()?);
    let identity = Identity::find("/".as_ref(), user_key)?;
    sshd.end_sessions(LEAVING)?;
    sshd.stop()?;
    identity.forget()?;
    rustix::fs::sync();
    let mut port = port.open()?;
    say(&mut port, FROZEN)?;
    let line = line::line(&mut port)?;
    match become_owners(&line, &identity) {
        Ok(()) => say(&mut port, frozen::READY)?,
        Err(e) => return say(&mut port, &format!("{FAILED}{e}")),
    }
    std::thread::sleep(FIRST_COMMAND);
    sshd.begin_anew()?;
    say(&mut port, frozen::READY)?;
    drop(port);
    std::thread::sleep(QUIET);
    // It writes below the machine-id that it has seen first.
    let journal = ["try-restart", "systemd-journald.service"];
    Command::new("systemctl").args(journal).stderr(Stdio::null()).status().map(drop)
}

/// In one write: the host hangs up after a word, and the kernel has what comes behind it
/// wait until somebody listens again.
fn say(port: &mut impl Write, word: &str) -> io::Result<()> {
    port.write_all(format!("{word}\n").as_bytes())
}

fn become_owners(line: &str, identity: &Identity) -> io::Result<()> {
    let owner = Owner::parse(line).map_err(io::Error::other)?;
    // First of all: what comes after may need random numbers, and the time.
    reseed(&owner.seed).map_err(|failure| io::Error::other(failure.message))?;
    clock::step(owner.now.saturating_sub(clock::step(0)?))?;
    std::fs::write("/proc/sys/kernel/hostname", &owner.host_name)?;
    identity.become_owners(&owner)?;
    // A host that breaks down now must not find a guest that nobody can enter.
    rustix::fs::sync();
    Ok(())
}
