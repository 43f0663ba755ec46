//! Atomic writes: temporary file in the same directory, fsync, rename, fsync
//! of the directory. A reader sees the old bytes or the new ones.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::host;

/// Who may read a file we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The owner alone: keys, provisioning.
    Owner,
    /// Whatever the user's umask grants.
    Default,
}

/// Replaces `path` with `bytes`.
pub fn write_atomic(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(dir)?;
    let mut file = tempfile::Builder::new().prefix(&temporary(path)).tempfile_in(dir)?;
    file.write_all(bytes)?;
    match access {
        Access::Owner => host::restrict_to_owner(file.path())?,
        Access::Default => host::allow_default(file.path())?,
    }
    file.as_file().sync_all()?;
    persist(file, path)?;
    sync_dir(dir)
}

/// How the names of temporary files for `path` begin. No machine's name has
/// the last character: another's begins otherwise.
fn temporary(path: &Path) -> OsString {
    let mut prefix = OsString::from(".tmp-");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push("~");
    prefix
}

/// Removes what writers of `path` left beside it that were killed. For whoever
/// holds the lock under which it is written.
pub fn sweep(path: &Path) {
    let Some(dir) = path.parent() else { return };
    let prefix = temporary(path);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Renames the temporary file, trying again where another program briefly
/// holds the target open (Windows: errors 5 and 32, virus scanners).
fn persist(mut file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    const ATTEMPTS: u32 = 10;
    for attempt in 1.. {
        match file.persist(path) {
            Ok(_) => return Ok(()),
            Err(e) if attempt < ATTEMPTS && host::is_sharing_violation(&e.error) => {
                file = e.file;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(e) => return Err(e.error),
        }
    }
    unreachable!("the loop returns")
}

/// Removes a file, or a directory with all that is in it, trying again while
/// Windows keeps what a program that is just ending has open.
pub fn remove(path: &Path) -> io::Result<()> {
    const ATTEMPTS: u32 = 60;
    let once = || if path.is_dir() { fs::remove_dir_all(path) } else { host::remove_file(path) };
    for _ in 1..ATTEMPTS {
        match once() {
            Err(e) if host::is_sharing_violation(&e) => {
                std::thread::sleep(Duration::from_millis(50));
            }
            removed => return removed,
        }
    }
    once()
}

/// The same, where nothing there is fine.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes a rename in `dir` survive a power cut. Windows has no such call.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Creates `dir` and its parents; `dir` itself admits its owner alone.
pub fn create_dir_owner_only(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    host::restrict_to_owner(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config.json");
        write_atomic(&path, b"a longer first version", Access::Default).unwrap();
        write_atomic(&path, b"second", Access::Default).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_writer_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"kept", Access::Default).unwrap();
        for left in [".tmp-a.json~x1", ".tmp-a.json~", ".tmp-a.json-b.json~x2"] {
            fs::write(dir.path().join(left), b"torn").unwrap();
        }
        sweep(&path);
        let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, [".tmp-a.json-b.json~x2", "a.json"]);
    }

    #[cfg(unix)]
    #[test]
    fn owner_only_files_have_mode_0600() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_atomic(&path, b"secret", Access::Owner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
