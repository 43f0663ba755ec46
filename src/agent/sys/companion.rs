//! A process that does something from outside: it is started before this one
//! changes, works when told to, and is waited for.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{self, ForkResult, Pid};
use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};

use super::calls::{exit_now, fork};

/// That process, seen from the one it works for.
pub struct Companion {
    pid: Pid,
    /// A byte on it says: now.
    go: OwnedFd,
    /// What this process shall be again afterwards.
    dumpable: Option<DumpableBehavior>,
}

impl Companion {
    /// Starts it; `work` gets the number of this process, and says whether it
    /// was done.
    pub fn start(work: impl FnOnce(Pid) -> bool) -> io::Result<Self> {
        // newuidmap looks at who owns /proc/PID.
        let dumpable = dumpable_behavior()?;
        set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        Self::begin(Some(dumpable), work)
    }

    /// The same for work that only root may do, and to whom every process is
    /// open.
    pub fn start_as_root(work: impl FnOnce(Pid) -> bool) -> io::Result<Self> {
        Self::begin(None, work)
    }

    fn begin(
        dumpable: Option<DumpableBehavior>,
        work: impl FnOnce(Pid) -> bool,
    ) -> io::Result<Self> {
        let (wait, go) = unistd::pipe2(OFlag::O_CLOEXEC)?;
        let target = unistd::getpid();
        match fork()? {
            ForkResult::Parent { child } => Ok(Self { pid: child, go, dumpable }),
            ForkResult::Child => {
                drop(go);
                // The end without a byte: the process has given up.
                let told = rustix::io::read(&wait, &mut [0]) == Ok(1);
                let done = told && work(target);
                exit_now(i32::from(!done))
            }
        }
    }

    /// Lets it work, and waits; whether it was done.
    pub fn finish(self) -> io::Result<bool> {
        rustix::io::write(&self.go, b"!")?;
        let status = loop {
            match waitpid(self.pid, None) {
                Err(Errno::EINTR) => {}
                status => break status?,
            }
        };
        if let Some(before) = self.dumpable {
            set_dumpable_behavior(before)?;
        }
        Ok(matches!(status, WaitStatus::Exited(_, 0)))
    }
}
