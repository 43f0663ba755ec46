//! Atomic writes: temporary file in the same directory, fsync, rename, fsync
//! of the directory. A reader sees the old bytes or the new ones.

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
    let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(dir)?;
    file.write_all(bytes)?;
    match access {
        Access::Owner => host::restrict_to_owner(file.path())?,
        Access::Default => host::allow_default(file.path())?,
    }
    file.as_file().sync_all()?;
    persist(file, path)?;
    sync_dir(dir)
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
