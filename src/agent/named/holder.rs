//! The process that keeps named namespaces in being: `nsvm-agent hold NAME`.
//!
//! In a new PID namespace it is process 1, to which come the orphans. It runs
//! nothing, and it is no copy of the agent: whoever owns the namespaces may
//! look into its memory.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;

use nix::fcntl::AtFlags;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::execveat;

use crate::agent::failure::failed;
use crate::agent::sys;
use crate::namespace::named::Name;
use crate::protocol::outcome::{FailedStep, Failure};

/// Executes the agent's own program as the holder; returns only why not.
pub fn become_holder(program: io::Result<File>, name: &Name) -> Failure {
    let what = "cannot start the process that holds the namespaces";
    let program = match program {
        Ok(program) => program,
        Err(e) => return failed(FailedStep::Launch, what, &e),
    };
    let name = CString::new(name.as_str()).expect("a name has no NUL byte");
    let argv: [&CStr; 3] = [c"nsvm-agent", c"hold", &name];
    let nothing: [&CStr; 0] = [];
    let Err(e) = execveat(&program, c"", &argv, &nothing, AtFlags::AT_EMPTY_PATH);
    failed(FailedStep::Launch, what, &e.into())
}

/// Stays until SIGTERM, once the agent has said on stdin that everything is
/// ready. Ends at once when it has not: then the agent has ended before, and
/// nobody knows of these namespaces.
pub fn hold() -> io::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    sys::ignore_children();
    if rustix::io::read(rustix::stdio::stdin(), &mut [0])? != 1 {
        return Err(io::Error::other("the agent has given up"));
    }
    // Fails for a leader, which is as good.
    let _ = rustix::process::setsid();
    // The agent's ends of the streams are closed: writing would fail.
    let end: SigSet = [Signal::SIGTERM].into_iter().collect();
    while end.wait()? != Signal::SIGTERM {}
    Ok(())
}
