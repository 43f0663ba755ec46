//! What a new process does, from its first moment to the exec.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::report::{Report, ReportTo};
use super::super::steps::{self, Subject};
use super::super::sys::{self, Kernel};
use crate::agent::failure::failed;
use crate::agent::program::Program;
use crate::agent::{listing, named, run};
use crate::namespace::named::Name;
use crate::namespace::plan::Step;
use crate::namespace::rootfs::RootFsVerb;
use crate::namespace::run::Digest;
use crate::protocol::outcome::{FailedStep, Failure};
use crate::protocol::request::Surroundings;

/// All that the process is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Work {
    /// The user, for people.
    pub user: String,
    pub program: Program,
    pub steps: Vec<Step>,
    /// Its control group, if it has one of its own.
    pub cgroup: Option<PathBuf>,
    pub surroundings: Surroundings,
    pub end: End,
}

/// What comes after the steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    Program,
    /// The namespaces that the user may see, told on stdout by a process with
    /// this command line.
    Listing(String),
    /// A process that keeps the namespaces of this name.
    Holder(Name),
    /// This root file system, taken from stdin.
    Root(Digest),
    /// What is asked about those that are kept, told on stdout.
    Kept(RootFsVerb),
}

/// The program's ends of its streams.
pub enum Ends {
    Pipes([OwnedFd; 3]),
    Terminal(OwnedFd),
}

impl Ends {
    /// Either one or three.
    pub fn of(mut fds: Vec<OwnedFd>) -> Option<Self> {
        match fds.len() {
            1 => fds.pop().map(Self::Terminal),
            _ => fds.try_into().map(Self::Pipes).ok(),
        }
    }

    /// In the order in which [`Ends::of`] takes them.
    pub fn all(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Pipes(pipes) => pipes.iter().map(AsFd::as_fd).collect(),
            Self::Terminal(terminal) => vec![terminal.as_fd()],
        }
    }
}

/// The rest of the new process's life before its exec.
pub fn do_it(work: &Work, ends: Ends, reports: &OwnedFd) -> ! {
    // A panic must not unwind into the code that made this process.
    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let failure = if let Err(e) = take_streams(ends, reports) {
            failed(FailedStep::Launch, "cannot set up the streams", &e)
        } else {
            let subject = Subject { user: &work.user, program: &work.program.name };
            // A holder that is killed for the memory of others ends them all.
            let holds = matches!(work.end, End::Holder(_));
            if work.surroundings == Surroundings::Login && !holds {
                sys::drop_oom_protection();
            }
            let reports = ReportTo::Agent(reports.as_fd());
            let mut kernel = Kernel::new(&work.program, reports, work.cgroup.as_deref());
            take_steps(work, &subject, &mut kernel)
        };
        let _ = rustix::io::write(reports, &Report::Failed(failure).encode());
    }));
    sys::exit_now(1)
}

/// Returns only why not.
fn take_steps(work: &Work, subject: &Subject<'_>, kernel: &mut Kernel<'_>) -> Failure {
    let steps = &work.steps;
    match &work.end {
        End::Program => steps::run(steps, subject, kernel),
        End::Listing(command) => match steps::take_all(steps, subject, kernel) {
            Ok(()) => listing::tell(command),
            Err(failure) => failure,
        },
        End::Root(digest) => run::store::receive(digest),
        End::Kept(verb) => run::kept::answer(verb),
        End::Holder(name) => {
            // Opened where its path is still the agent's.
            let own = File::open("/proc/self/exe");
            match steps::take_all(steps, subject, kernel) {
                Ok(()) => named::holder::become_holder(own, name),
                Err(failure) => failure,
            }
        }
    }
}

/// A session of its own, so that signals reach the program's group alone.
fn take_streams(ends: Ends, reports: &OwnedFd) -> io::Result<()> {
    rustix::process::setsid()?;
    sys::default_broken_pipes();
    let kept = reports.as_fd();
    match &ends {
        Ends::Pipes([stdin, stdout, stderr]) => {
            sys::keep_only([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()], kept)?;
        }
        Ends::Terminal(terminal) => {
            rustix::process::ioctl_tiocsctty(terminal)?;
            sys::keep_only([terminal.as_fd(); 3], kept)?;
        }
    }
    // `keep_only` has closed them.
    std::mem::forget(ends);
    Ok(())
}
