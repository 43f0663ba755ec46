//! Locks held by the kernel: they end with their holder, whatever ended it.
//!
//! A lock file is never the JSON it guards: on Windows a locked file cannot
//! be read.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::host;
pub use crate::host::is_locked;

/// An exclusive lock, released when dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, or returns `None` at once when another holds it.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        Ok(host::try_lock(path)?.map(|file| Self { file }))
    }

    /// Takes the lock, waiting up to `deadline`; `TimedOut` after that. The
    /// kernel offers no lock with a deadline, so this asks every 20 ms.
    pub fn acquire(path: &Path, deadline: Duration) -> io::Result<Self> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            if Instant::now() >= end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The locked file, for a child that shall inherit the lock.
    pub fn file(&self) -> &File {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_others_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        assert!(!is_locked(&path).unwrap());
        let held = Lock::try_acquire(&path).unwrap().unwrap();
        assert!(is_locked(&path).unwrap());
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        let late = Lock::acquire(&path, Duration::from_millis(30)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        drop(held);
        assert!(!is_locked(&path).unwrap());
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }
}
