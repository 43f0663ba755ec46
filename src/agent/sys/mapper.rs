//! The process that writes id maps from outside a user namespace: more than
//! one id needs privilege there.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{self, ForkResult, Pid};
use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};

use super::calls::{exit_now, fork};
use super::{report, write_file};
use crate::agent::failure::failed;
use crate::agent::report::Report;
use crate::agent::steps::WriteError;
use crate::namespace::idmap::{self, IdRange};
use crate::namespace::plan::IdMaps;
use crate::protocol::outcome::FailedStep;

/// That process, seen from the one whose maps it will write.
pub struct Mapper {
    pid: Pid,
    /// A byte on it says: the user namespace exists.
    go: OwnedFd,
    dumpable: DumpableBehavior,
}

impl Mapper {
    /// Starts it; `reports` is where it tells what fails.
    pub fn start(maps: &IdMaps, reports: BorrowedFd<'_>) -> io::Result<Self> {
        let (wait, go) = unistd::pipe2(OFlag::O_CLOEXEC)?;
        let target = unistd::getpid();
        // newuidmap looks at who owns /proc/PID.
        let dumpable = dumpable_behavior()?;
        set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        match fork()? {
            ForkResult::Parent { child } => Ok(Self { pid: child, go, dumpable }),
            ForkResult::Child => {
                drop(go);
                // The end without a byte: the process has given up.
                let told = rustix::io::read(&wait, &mut [0]) == Ok(1);
                let done = told && write_maps(target, maps, reports);
                exit_now(i32::from(!done))
            }
        }
    }

    /// Lets it write, and waits; whether it could.
    pub fn finish(self) -> io::Result<bool> {
        rustix::io::write(&self.go, b"!")?;
        let status = loop {
            match waitpid(self.pid, None) {
                Err(Errno::EINTR) => {}
                status => break status?,
            }
        };
        set_dumpable_behavior(self.dumpable)?;
        Ok(matches!(status, WaitStatus::Exited(_, 0)))
    }
}

/// Root writes the maps itself, others ask newuidmap(1) and newgidmap(1).
fn write_maps(target: Pid, maps: &IdMaps, reports: BorrowedFd<'_>) -> bool {
    let write = |file: &str, tool: &str, ranges: &[IdRange]| {
        let lines = idmap::lines(ranges);
        if ranges.is_empty() {
            Ok(true)
        } else if unistd::geteuid().is_root() {
            write_map(&format!("/proc/{target}/{file}"), &lines).map(|()| true)
        } else {
            run_tool(tool, target, &lines)
        }
    };
    let users = write("uid_map", "newuidmap", &maps.users);
    let both = users.and_then(|done| Ok(done && write("gid_map", "newgidmap", &maps.groups)?));
    both.unwrap_or_else(|(what, error)| {
        report(reports, &Report::Failed(failed(FailedStep::Namespaces, what, &error)));
        false
    })
}

fn write_map(path: &str, lines: &str) -> Result<(), (String, io::Error)> {
    write_file(path, lines).map_err(|e| match e {
        WriteError::Open(error) => (format!("failed to open {path}"), error),
        WriteError::Write(error) => (format!("failed to write {path}"), error),
    })
}

fn run_tool(tool: &str, target: Pid, lines: &str) -> Result<bool, (String, io::Error)> {
    let found = ["/usr/bin", "/bin", "/usr/local/bin"].map(|dir| format!("{dir}/{tool}"));
    let path = found.iter().find(|path| Path::new(path).exists()).unwrap_or(&found[0]);
    let numbers = lines.split_whitespace();
    let status = std::process::Command::new(path).arg(target.to_string()).args(numbers).status();
    status.map(|s| s.success()).map_err(|e| (format!("failed to execute {tool}"), e))
}
