//! Windows.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::Ending;

/// Everything below the user's profile admits that user (and the system)
/// alone: the profile's access list is inherited.
pub fn restrict_to_owner(_: &Path) -> io::Result<()> {
    Ok(())
}

pub fn allow_default(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Access denied (5) and sharing violation (32): another program has the
/// target of a rename open for a moment.
pub fn is_sharing_violation(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(5 | 32))
}

/// A directory for sockets whose path is short.
pub fn short_runtime_dir(tag: &str) -> PathBuf {
    std::env::temp_dir().join(format!("nsvm-{tag}"))
}

pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)
}

/// The supervisor is created detached; there is nothing to leave.
pub fn leave_session() -> io::Result<()> {
    Ok(())
}

pub fn own_group(_: &mut Command) {}

/// There are no groups to signal: the child itself is ended.
pub fn end_group(child: &mut Child, ending: Ending) {
    if ending == Ending::Forced {
        let _ = child.kill();
    }
}

/// Physical memory in bytes.
pub fn memory_bytes() -> Option<u64> {
    None
}

/// Free and total bytes of the volume; unknown until it is asked for by
/// `GetDiskFreeSpaceEx`.
pub fn disk_space(_: &Path) -> io::Result<(u64, u64)> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing on Windows names a boot; cached answers then live for a day.
pub fn boot_id() -> Option<String> {
    None
}
