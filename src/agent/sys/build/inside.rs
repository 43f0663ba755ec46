//! Paths below the new root, resolved as if it were the root already: links in
//! it lead nowhere else (`openat2(2)`, `RESOLVE_IN_ROOT`, since Linux 5.6).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};

use super::ROOT;

/// A place inside, held open: its path stays right whatever happens to links.
pub struct Inside {
    file: OwnedFd,
}

impl Inside {
    /// What is at `path`, which must be there.
    pub fn at(path: &[u8]) -> io::Result<Self> {
        let root = openat2(
            CWD,
            ROOT,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::empty(),
        )?;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = openat2(root, OsStr::from_bytes(path), flags, Mode::empty(), within)?;
        Ok(Self { file })
    }

    /// The same of what may be missing.
    pub fn if_there(path: &[u8]) -> io::Result<Option<Self>> {
        match Self::at(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// The directory at `path`; one that is missing is made, its parents too.
    pub fn directory(path: &[u8]) -> io::Result<Self> {
        if let Some(there) = Self::if_there(path)? {
            return Ok(there);
        }
        let path = Path::new(OsStr::from_bytes(path));
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let parent = Self::directory(parent.as_os_str().as_bytes())?;
        match mkdirat(&parent.file, name, Mode::from_raw_mode(0o755)) {
            // A link to nowhere: mounting on it will say so.
            Err(rustix::io::Errno::EXIST) | Ok(()) => {}
            Err(e) => return Err(e.into()),
        }
        Self::at(path.as_os_str().as_bytes())
    }

    /// A path that mount(2) takes.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}
