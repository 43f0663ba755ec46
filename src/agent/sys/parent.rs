//! The process that stays behind at a fork: it passes on how its child ends,
//! as unshare(1) does.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, WaitOptions, kill_process, pidfd_open, set_dumpable_behavior,
};

use super::binder;
use super::calls::{close_range, die_by, exit_now};
use super::companion::Companion;
use crate::agent::report::{Report, ReportTo};
use crate::namespace::plan::{Binds, Parent};

/// Signals that a parent outlives, because they reach the child too.
pub fn patient() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM].into_iter().collect()
}

/// Stays until the child ends, and ends like it.
pub fn stay_behind(
    child: nix::unistd::Pid,
    parent: &Parent,
    binder: Option<Companion>,
    reports: ReportTo<'_>,
) -> ! {
    let Some(child) = Pid::from_raw(child.as_raw()) else { exit_now(1) };
    reports.tell(&Report::Forked(child.as_raw_nonzero().get().unsigned_abs()));
    if !bind(parent, binder, reports) {
        let _ = kill_process(child, rustix::process::Signal::KILL);
        exit_now(1);
    }
    if parent.leaves {
        exit_now(0);
    }
    // What it was told is in its memory: no core file, no debugger.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = rustix::thread::set_name(c"unshare");
    // The program alone decides when its streams end.
    close_range(0, 2);
    if parent.forward_signals {
        // Without it the child still ends, and its end is passed on.
        let _ = forward_signals(child);
    }
    end_like(child)
}

/// Whether the files were bound, if there are any.
fn bind(parent: &Parent, binder: Option<Companion>, reports: ReportTo<'_>) -> bool {
    match &parent.binds {
        Binds::None => true,
        Binds::ByBinder => binder.is_none_or(|binder| matches!(binder.finish(), Ok(true))),
        Binds::Itself(files) => binder::bind_all("self", files, reports),
    }
}

/// Until the child has ended. The signals are blocked, so they wait here.
fn forward_signals(child: Pid) -> io::Result<()> {
    let ended = pidfd_open(child, PidfdFlags::empty())?;
    let signals = SignalFd::with_flags(&patient(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    loop {
        let mut polled = [PollFd::new(&ended, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => drop(result?),
        }
        if !polled[0].revents().is_empty() {
            return Ok(());
        }
        while let Some(info) = signals.read_signal()? {
            let term = info.ssi_signo == Signal::SIGTERM as u32;
            let signal =
                if term { rustix::process::Signal::TERM } else { rustix::process::Signal::INT };
            // A child that has just ended takes none.
            let _ = kill_process(child, signal);
        }
    }
}

fn end_like(child: Pid) -> ! {
    loop {
        // rustix, because nix knows no real-time signals.
        match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => exit_now(code),
                (_, Some(signal)) => die_by(signal),
                _ => {}
            },
            _ => exit_now(1),
        }
    }
}
