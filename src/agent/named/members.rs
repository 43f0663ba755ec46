//! The processes in a named namespace: those that are in one of the namespaces
//! that were made for it.
//!
//! Numbers of namespaces are used again, so this only holds while something
//! keeps them: the holder, or [`Pins`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};
use tokio::time::{Instant, sleep, timeout_at};

use super::record::Record;
use crate::agent::process::Process;
use crate::agent::sys;
use crate::namespace::kind::Kind;

/// How often what still runs is looked for again while it is being killed: a
/// process that forks may have escaped a look, and a killed one is gone within
/// a few milliseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The numbers of those namespaces of a process that are not this agent's:
/// options may have implied more than were asked for.
pub fn namespaces(pid: u32) -> BTreeMap<Kind, u64> {
    let own = std::process::id();
    let other = |kind: &Kind| number(pid, *kind) != number(own, *kind);
    let made = Kind::ALL.into_iter().filter(other);
    made.filter_map(|kind| Some((kind, number(pid, kind)?))).collect()
}

fn number(pid: u32, kind: Kind) -> Option<u64> {
    Some(fs::metadata(format!("/proc/{pid}/ns/{}", kind.proc_name())).ok()?.ino())
}

/// All processes in it but its holder.
pub fn all(record: &Record, holder: Process) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let others = pids.filter(|pid| *pid != holder.pid && is_in(*pid, record));
    // A zombie still has some of its namespaces.
    others.filter(|pid| Process::with_number(*pid).is_ok_and(Process::is_alive)).collect()
}

/// Keeps the namespaces of a record, whatever becomes of their processes.
pub struct Pins(#[expect(dead_code, reason = "open is all they have to be")] Vec<File>);

impl Pins {
    pub fn of(record: &Record, holder: Process) -> Self {
        let file =
            |kind: &Kind| File::open(format!("/proc/{}/ns/{}", holder.pid, kind.proc_name())).ok();
        Self(record.namespaces.keys().filter_map(file).collect())
    }
}

fn is_in(pid: u32, record: &Record) -> bool {
    record.namespaces.iter().any(|(kind, id)| number(pid, *kind) == Some(*id))
}

/// Sends `signal` to all of them; what keeps hold of them.
fn signal_all(record: &Record, holder: Process, signal: Signal) -> Vec<OwnedFd> {
    let signalled = |pid| {
        let pidfd = Process::with_number(pid).ok()?.hold()?;
        // What has ended in between may have left its number to a stranger.
        if !is_in(pid, record) {
            return None;
        }
        let _ = pidfd_send_signal(&pidfd, signal);
        Some(pidfd)
    };
    all(record, holder).into_iter().filter_map(signalled).collect()
}

/// Asks all of them to end, and waits for at most `grace`.
pub async fn ask_to_end(record: &Record, holder: Process, grace: Duration) {
    let end = Instant::now() + grace;
    let asked = signal_all(record, holder, Signal::TERM);
    // What is stopped hears of it only when it goes on.
    signal_all(record, holder, Signal::CONT);
    for pidfd in asked {
        if timeout_at(end, ended(&pidfd)).await.is_err() {
            return;
        }
    }
}

/// Kills all of them, again until none is left or `patience` is over; whether
/// none is left.
pub async fn kill(record: &Record, holder: Process, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    while !signal_all(record, holder, Signal::KILL).is_empty() {
        if Instant::now() > end {
            return false;
        }
        sleep(LOOK_AGAIN).await;
    }
    true
}

/// Waits for the end of a process.
pub async fn ended(pidfd: &OwnedFd) {
    match sys::watch_borrowed(pidfd.as_fd()) {
        Ok(exited) => drop(exited.readable().await),
        Err(e) => eprintln!("nsvm-agent: cannot wait for a process: {e}"),
    }
}
