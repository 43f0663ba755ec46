//! Paths below the new root, resolved as if it were the root already: links in
//! it lead nowhere else (`openat2(2)`, `RESOLVE_IN_ROOT`, since Linux 5.6).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{chown, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat};
use rustix::io::Errno;

use super::ROOT;

/// The kernel gives up on `..` while anything in the system is renamed or
/// mounted, and asks to try again (`openat2(2)`): so often in a row only when
/// something is wrong.
const MOST_TRIES: usize = 1_000;

/// As many as the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

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
        let open = || openat2(&root, OsStr::from_bytes(path), flags, Mode::empty(), within);
        let settled = |opened: &Result<OwnedFd, Errno>| !matches!(opened, Err(Errno::AGAIN));
        let mut tries = std::iter::repeat_with(open).take(MOST_TRIES);
        let file = tries.find(settled).unwrap_or(Err(Errno::AGAIN))?;
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
            Err(Errno::EXIST) | Ok(()) => {}
            Err(e) => return Err(e.into()),
        }
        Self::at(path.as_os_str().as_bytes())
    }

    /// The file at `path`; one that is missing is made, with the directories
    /// above it, where links in its place lead to. All belongs to `owner`.
    pub fn file(path: &[u8], owner: (u32, u32)) -> io::Result<Self> {
        let mut path = PathBuf::from(OsStr::from_bytes(path));
        for _ in 0..MOST_LINKS {
            if let Some(there) = Self::if_there(path.as_os_str().as_bytes())? {
                return Ok(there);
            }
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { break };
            let dir = Self::owned_directory(parent, owner)?;
            let Ok(link) = readlinkat(&dir.file, name, Vec::new()) else {
                return dir.new_file(name, owner);
            };
            path = parent.join(OsStr::from_bytes(link.as_bytes()));
        }
        Err(Errno::LOOP.into())
    }

    fn owned_directory(path: &Path, owner: (u32, u32)) -> io::Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        if let Some(there) = Self::if_there(bytes)? {
            return Ok(there);
        }
        if let Some(parent) = path.parent() {
            Self::owned_directory(parent, owner)?;
        }
        let made = Self::directory(bytes)?;
        chown(made.path(), Some(owner.0), Some(owner.1))?;
        Ok(made)
    }

    /// In this directory, which has none of that name.
    fn new_file(&self, name: &OsStr, owner: (u32, u32)) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.file, name, flags | OFlags::WRONLY, Mode::from_raw_mode(0o644))?;
        fchown(&file, Some(owner.0), Some(owner.1))?;
        Ok(Self { file })
    }

    /// A path that mount(2) takes.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}
