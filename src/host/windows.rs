//! Windows.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

mod access;
mod command_line;
mod console;
mod facts;
mod lock;
mod process;

pub use access::restrict_to_owner;
pub use console::{keys, restore_console, screen, speak_sequences};
pub use facts::{
    allocated_bytes, boot_id, disk_space, memory_available, memory_bytes, qemu_directory,
};
pub use lock::{inherit, is_locked, try_lock};
pub use process::{
    close_inherited_files, detach, end_group, end_with_parent, forget_start, hide_window,
    kill_process_with_argument, leave_session, own_group, return_free_memory,
};

/// Nothing runs in the background here.
pub fn be_nice() -> io::Result<()> {
    Ok(())
}

/// Removes a file, also one that is read-only, which some file systems refuse.
pub fn remove_file(path: &Path) -> io::Result<()> {
    let removed = std::fs::remove_file(path);
    if !removed.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied) {
        return removed;
    }
    let mut permissions = std::fs::symlink_metadata(path)?.permissions();
    #[allow(clippy::permissions_set_readonly_false)] // Windows has no modes to widen
    permissions.set_readonly(false);
    std::fs::set_permissions(path, permissions)?;
    std::fs::remove_file(path)
}

/// Itself: what the system calls canonical (`\\?\C:\`) many programs refuse.
pub fn resolved(path: PathBuf) -> PathBuf {
    path
}

/// As [`restrict_to_owner`] has it: by what the file inherits.
pub fn is_owners_alone(path: &Path) -> io::Result<bool> {
    std::fs::metadata(path).map(|_| true)
}

/// Users have no numbers here.
pub fn user_id() -> Option<u32> {
    None
}

/// The path that somebody typed, in whichever shell.
pub fn as_typed(path: PathBuf) -> PathBuf {
    match path.to_str() {
        Some(text) => super::typed::on_windows(text).into(),
        None => path,
    }
}

/// Some file systems refuse sockets (`WSAEINVAL`).
pub const SOCKETS_FIT_EVERYWHERE: bool = false;

/// New files have the access list that their directory hands down.
pub fn allow_default(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Access denied (5), sharing violation (32), a directory that is not empty
/// (145) because what was removed from it is still open: another program has
/// the target of a rename or removal open for a moment.
pub fn is_sharing_violation(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(5 | 32 | 145))
}

/// A directory for sockets whose path is short.
pub fn short_runtime_dir(tag: &str) -> PathBuf {
    std::env::temp_dir().join(format!("nsvm-{tag}"))
}

/// Creates a directory that lets only this user in.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    restrict_to_owner(dir)
}

/// Doubles every occurrence of an ASCII character and leaves all else as it
/// is, whether or not it is Unicode.
pub fn double(value: &OsStr, ascii: u8) -> OsString {
    let units = value.encode_wide();
    let twice = |unit| 1 + usize::from(unit == u16::from(ascii));
    let doubled: Vec<u16> = units.flat_map(|unit| std::iter::repeat_n(unit, twice(unit))).collect();
    OsString::from_wide(&doubled)
}

/// Whether TLS reads `SSL_CERT_FILE` of itself. Windows asks its own store.
pub fn tls_reads_ssl_cert_file() -> bool {
    false
}

/// Where an administrator puts settings for all users: below the usual value of
/// `%ProgramData%`, which only administrators write.
pub fn system_config_dir() -> PathBuf {
    r"C:\ProgramData\nsvm".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_file_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("base.raw");
        std::fs::write(&path, "x").unwrap();
        let mut permissions = std::fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(&path, permissions).unwrap();
        remove_file(&path).unwrap();
        assert_eq!(remove_file(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
