//! The kernel.
//!
//! A new process runs this code between fork and exec, in a copy of the agent
//! that has one thread; such a copy may allocate. It must not return into the
//! agent's own code: it ends by exec or by [`exit_now`].

mod binder;
mod build;
mod calls;
mod companion;
mod handles;
mod kernel;
mod mapper;
mod parent;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

pub use calls::{
    default_broken_pipes, default_signals, exit_now, fork, fork_beside, ignore_broken_pipes,
    ignore_children, keep_only, namespace_flag, namespace_maker, parent_namespace,
    parent_user_namespace, reseed, signal_group, signal_process, socket_namespace,
    take_short_turns, watch, watch_borrowed,
};
pub use kernel::Kernel;

use nix::unistd;

use super::steps::WriteError;
use crate::namespace::plan::Credentials;

/// Makes this process as likely as any other to be killed when the machine is
/// out of memory: only the agent itself is protected (`OOMScoreAdjust=` of its
/// unit), and its copies inherit that.
pub fn drop_oom_protection() {
    let path = "/proc/self/oom_score_adj";
    if fs::read_to_string(path).is_ok_and(|score| score.starts_with('-')) {
        // Everybody may give protection up.
        let _ = write_file(path, "0");
    }
}

/// How many threads this process has (proc(5)).
pub fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Who this process is.
pub fn own_credentials() -> io::Result<Credentials> {
    let groups = unistd::getgroups()?.into_iter().map(unistd::Gid::as_raw).collect();
    let (uid, gid) = (unistd::geteuid().as_raw(), unistd::getegid().as_raw());
    Ok(Credentials { uid, gid, groups })
}

/// One write, as these files demand.
fn write_file(path: &str, text: &str) -> Result<(), WriteError> {
    let mut file = OpenOptions::new().write(true).open(path).map_err(WriteError::Open)?;
    file.write_all(text.as_bytes()).map_err(WriteError::Write)
}
