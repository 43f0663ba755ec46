//! Locks that the kernel holds: a file that is open and not shared. Unlike
//! `LockFileEx`, whose locks are those of one process, this is a property of the
//! open file, so that a child that inherits the handle holds the lock: QEMU
//! keeps the VM's lock when its supervisor is gone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::process::Command;

use winapi_util::file::information;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, HANDLE_FLAG_INHERIT, SetHandleInformation,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE,
};

use super::access::checked;

/// The file, locked; `None` while another holds it. Its holder may remove it.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).share_mode(FILE_SHARE_DELETE);
    match options.open(path) {
        // Its last holder may have removed the file meanwhile: then this one
        // locks nothing that others would see.
        Ok(file) if is_file_at(&file, path) => Ok(Some(file)),
        Ok(_) => try_lock(path),
        Err(e) if is_held(&e, path) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether some process holds the lock. A missing file is an unlocked one.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    match OpenOptions::new().read(true).share_mode(all).open(path) {
        Ok(_) => Ok(false),
        Err(e) if is_held(&e, path) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// A removed file that somebody has still open also denies access, until it is
/// closed; a directory or a forbidden file does so for ever.
fn is_held(error: &io::Error, path: &Path) -> bool {
    let code = error.raw_os_error().and_then(|code| u32::try_from(code).ok());
    code == Some(ERROR_SHARING_VIOLATION)
        || (code == Some(ERROR_ACCESS_DENIED) && std::fs::symlink_metadata(path).is_err())
}

/// Whether `path` still leads to this open file.
fn is_file_at(file: &File, path: &Path) -> bool {
    // No access is asked for, which sharing never refuses.
    let there = OpenOptions::new().access_mode(0).open(path);
    let identity = |file: &File| {
        let found = information(file).ok()?;
        Some((found.volume_serial_number(), found.file_index()))
    };
    there.is_ok_and(|there| identity(&there).is_some_and(|there| identity(file) == Some(there)))
}

/// Lets the children that are started from now on inherit `file` and with it
/// the lock on it. The answer is whether that works here.
pub fn inherit(_: &mut Command, file: &File) -> io::Result<bool> {
    // SAFETY: the handle is open as long as `file` is.
    #[allow(unsafe_code)]
    checked(unsafe {
        SetHandleInformation(file.as_raw_handle(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT)
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_holds_the_lock_that_it_inherits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vm.lock");
        let lock = try_lock(&path).unwrap().unwrap();
        // Waits for its stdin to end.
        let mut command = Command::new("cmd.exe");
        command.args(["/d", "/q", "/c", "set /p nothing="]).stdin(std::process::Stdio::piped());
        assert!(inherit(&mut command, &lock).unwrap());
        let mut child = command.spawn().unwrap();
        drop(lock);
        assert!(is_locked(&path).unwrap());
        assert!(try_lock(&path).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_locked(&path).unwrap());
    }

    #[test]
    fn a_holder_may_remove_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let lock = try_lock(&path).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        drop(lock);
        assert!(!is_locked(&path).unwrap());
        assert!(try_lock(&path).unwrap().is_some());
    }
}
