//! What happens to a program whose host has gone.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::timeout;

use super::launch::Child;
use super::sys;
use crate::protocol::signal;

/// How long the first process of a PID namespace has to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Hangs up on the program and reaps it. A program that ignores SIGHUP
/// (nohup(1)) lives on, as after a closed terminal.
pub async fn hang_up(child: &Child) -> io::Result<()> {
    let init = child.reports().forked.and_then(namespace_init);
    sys::signal_group(child.pid, signal::HUP);
    sys::signal_group(child.pid, signal::CONT);
    if let Some(init) = init {
        end_init(&init).await?;
    }
    let exited = sys::watch_borrowed(child.pidfd.as_fd())?;
    while child.outcome()?.is_none() {
        exited.readable().await?.clear_ready();
    }
    Ok(())
}

/// The first process of a PID namespace.
struct Init {
    pid: u32,
    pidfd: OwnedFd,
}

fn namespace_init(pid: u32) -> Option<Init> {
    let raw = Pid::from_raw(pid.cast_signed())?;
    let pidfd = pidfd_open(raw, PidfdFlags::empty()).ok()?;
    is_init(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?).then_some(Init { pid, pidfd })
}

/// The kernel drops a SIGHUP that such a process has no handler for
/// (`pid_namespaces(7)`), and with it would stay everything in its namespace.
async fn end_init(init: &Init) -> io::Result<()> {
    let exited = sys::watch_borrowed(init.pidfd.as_fd())?;
    if timeout(GRACE, exited.readable()).await.is_ok() {
        return Ok(());
    }
    let status = fs::read_to_string(format!("/proc/{}/status", init.pid)).unwrap_or_default();
    if !ignores_hangup(&status) {
        let _ = pidfd_send_signal(&init.pidfd, Signal::KILL);
    }
    Ok(())
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn is_init(status: &str) -> bool {
    field(status, "NSpid").and_then(|pids| pids.split_whitespace().last()) == Some("1")
}

fn ignores_hangup(status: &str) -> bool {
    let ignored = field(status, "SigIgn").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    ignored.is_some_and(|mask| mask & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_tells_who_is_first_and_who_ignores_the_hangup() {
        let status = "Name:\tsleep\nNSpid:\t4711\t1\nSigIgn:\t0000000000000001\n";
        assert!(is_init(status) && ignores_hangup(status));
        let status = "NSpid:\t1\t12\nSigIgn:\t0000000000001000\n";
        assert!(!is_init(status) && !ignores_hangup(status));
        assert!(!is_init("") && !ignores_hangup(""));
    }
}
