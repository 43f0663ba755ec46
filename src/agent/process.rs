//! Processes that are known by more than their number, which may be another's
//! after they have ended.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// One process of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// When it started, in ticks since the boot.
    pub started: u64,
}

impl Process {
    /// The one that has this number now.
    pub fn with_number(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, started: started(pid)? })
    }

    /// This process.
    pub fn own() -> io::Result<Self> {
        Self::with_number(std::process::id())
    }

    /// Whether it has not ended. A zombie has.
    pub fn is_alive(self) -> bool {
        self.hold().is_some()
    }

    /// A descriptor that stays the process's and is readable once it has
    /// ended; none when it has by now.
    pub fn hold(self) -> Option<OwnedFd> {
        let raw = Pid::from_raw(self.pid.cast_signed())?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        // Whoever has the number after the opening has had it before.
        let stat = stat(self.pid).ok()?;
        (stat.started == self.started && !stat.has_ended).then_some(pidfd)
    }
}

/// When a process started, in ticks since the boot (`proc_pid_stat(5)`, field
/// 22).
pub fn started(pid: u32) -> io::Result<u64> {
    Ok(stat(pid)?.started)
}

struct Stat {
    started: u64,
    has_ended: bool,
}

fn stat(pid: u32) -> io::Result<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat"))?;
    parse(&String::from_utf8_lossy(&text)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The second field is a name in parentheses that may hold anything.
fn parse(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X");
    Some(Stat { started: fields.nth(18)?.parse().ok()?, has_ended })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_another_with_its_number() {
        let own = Process::own().unwrap();
        assert!(own.is_alive());
        assert!(!Process { started: own.started + 1, ..own }.is_alive());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = Process::with_number(child.id()).unwrap();
        child.wait().unwrap();
        assert!(!ended.is_alive());
    }

    #[test]
    fn names_may_hold_anything() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 0";
        let stat = parse(&format!("12 (a) Z (b c) {rest}")).unwrap();
        assert_eq!((stat.started, stat.has_ended), (777, false));
        assert!(parse("12 (a) Z 1").is_none());
        assert!(parse("").is_none());
    }
}
