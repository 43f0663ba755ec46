//! What one run of a program took.

use std::fs;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::resource::{UsageWho, getrusage};

use super::super::children::{self, Heed};
use super::super::proc;

/// The kernel keeps the peak, so only what comes after the last look is missed.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub wall: Duration,
    /// User and system time of it and its children.
    pub cpu: Duration,
    /// Resident memory of the process itself, in bytes.
    pub peak: u64,
}

/// Runs it to a successful end; its output is dropped.
pub fn measure(command: &mut Command, limit: Duration) -> anyhow::Result<Cost> {
    let mut err = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(err.try_clone()?).process_group(0);
    let (before, begun) = (children_cpu()?, Instant::now());
    let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    let (pid, ended) = (child.id(), AtomicBool::new(false));
    let (waited, wall, peak) = thread::scope(|scope| {
        let watch = scope.spawn(|| highest(pid, &ended));
        let waited = children::wait(&mut child, limit, Heed::Signals);
        let wall = begun.elapsed();
        ended.store(true, Ordering::Relaxed);
        (waited, wall, watch.join().unwrap_or_default())
    });
    let status = waited.inspect_err(|_| children::end(&mut child))?;
    if !status.success() {
        let mut text = String::new();
        err.rewind()?;
        err.read_to_string(&mut text)?;
        bail!("{command:?} ended with {status}: {}", text.trim());
    }
    Ok(Cost { wall, cpu: children_cpu()?.saturating_sub(before), peak })
}

fn highest(pid: u32, ended: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !ended.load(Ordering::Relaxed) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        peak = peak.max(proc::peak_of(&status).unwrap_or_default());
        thread::sleep(LOOK);
    }
    peak
}

/// Of all children that have been waited for.
fn children_cpu() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = |time: nix::sys::time::TimeVal| {
        let micros = u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec());
        Duration::from_micros(micros.unwrap_or_default())
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}
