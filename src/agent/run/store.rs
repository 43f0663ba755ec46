//! Root file systems that were sent, each in a directory named by its digest.
//!
//! A stream is unpacked by a process that has made the new directory its root:
//! whatever links a tar holds, it cannot write elsewhere. The directory gets
//! its name only once the whole stream has come.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, fstatvfs, renameat};
use tar::{Archive, Entry, EntryType};

use super::STORE;
use crate::agent::failure::{refused, text};
use crate::agent::sys;
use crate::namespace::run::Digest;
use crate::protocol::outcome::{FailedStep, Failure};
use crate::protocol::request::ROOT_TRAILER;

/// Begins the name of a directory that is being filled.
const UNFINISHED: &str = ".new-";

/// What is left free of the file system, in bytes, and on small ones in
/// hundredths: a guest whose disk is full cannot even log that.
const RESERVE: u64 = 1 << 30;
const SMALL_RESERVE: u64 = 5;

/// Where a root file system is, whether or not it has come.
pub fn path(digest: &Digest) -> PathBuf {
    roots().join(digest.as_str())
}

/// Where all of them are.
pub fn roots() -> PathBuf {
    Path::new(STORE).join("roots")
}

pub fn has(digest: &Digest) -> bool {
    path(digest).is_dir()
}

/// Unpacks the tar on stdin and ends this process; returns only why it could
/// not. Nothing of it is left then.
pub fn receive(digest: &Digest) -> Failure {
    match unpacked(digest) {
        Ok(()) => sys::exit_now(0),
        Err(e) => {
            let text = format!("cannot unpack the root file system: {}", whole(&e));
            Failure { errno: errno(&e), ..refused(FailedStep::Request, text) }
        }
    }
}

/// With the cause, which the crate tar keeps apart.
fn whole(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(std::error::Error::source);
    let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>()).map(whole);
    let text = text(error);
    match cause {
        Some(cause) if !text.contains(&cause) => format!("{text}: {cause}"),
        _ => text,
    }
}

fn errno(error: &io::Error) -> i32 {
    let cause = error.get_ref().and_then(std::error::Error::source);
    let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>()).map(errno);
    error.raw_os_error().or(cause).unwrap_or(0)
}

fn unpacked(digest: &Digest) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(roots())?;
    let all = File::open(roots())?;
    remove_unfinished();
    let name = format!("{UNFINISHED}{}-{}", digest.as_str(), std::process::id());
    let new = roots().join(&name);
    DirBuilder::new().mode(0o755).create(&new)?;
    let dir = File::open(&new)?;
    // Held until this process ends: tells what is left over from what is not.
    flock(&dir, FlockOperation::LockExclusive)?;
    let outside = File::open("/")?;
    let done = fill(&dir).and_then(|()| {
        // Another may have been faster with the same.
        let named = renameat(&all, name.as_str(), &all, digest.as_str());
        named.or_else(|e| if has_beside(&all, digest) { Ok(()) } else { Err(e.into()) })
    });
    // Whoever sees it may use it at once.
    let _ = flock(&dir, FlockOperation::Unlock);
    nix::unistd::fchdir(&outside)?;
    nix::unistd::chroot(".")?;
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    done
}

/// Moves a directory to where it is one that was not finished.
pub fn out_of_sight(dir: &Path, name: &str) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(roots())?;
    let to = roots().join(format!("{UNFINISHED}{name}-{}", std::process::id()));
    fs::rename(dir, &to)?;
    Ok(to)
}

fn has_beside(all: &File, digest: &Digest) -> bool {
    rustix::fs::statat(all, digest.as_str(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// What processes that were killed have left.
fn remove_unfinished() {
    for entry in fs::read_dir(roots()).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            continue;
        }
        let free = File::open(entry.path())
            .is_ok_and(|dir| flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok());
        if free {
            // The next one tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes `dir` the root of this process and unpacks into it.
fn fill(dir: &File) -> io::Result<()> {
    let space = fstatvfs(dir)?;
    let kept = (space.f_blocks / 100 * SMALL_RESERVE).min(RESERVE / space.f_frsize.max(1));
    let free = space.f_bavail.saturating_sub(kept);
    let input = File::from(rustix::stdio::stdin().as_fd().try_clone_to_owned()?);
    let mut stream = Stream::new(input, free.saturating_mul(space.f_frsize));
    nix::unistd::fchdir(dir)?;
    nix::unistd::chroot(".")?;
    let files = unpack(&mut stream)?;
    stream.finish()?;
    if files == 0 {
        return Err(io::Error::other("it holds no files"));
    }
    rustix::fs::syncfs(dir)?;
    Ok(())
}

/// How many entries it had. Owners and modes are kept, devices are not.
fn unpack(stream: &mut Stream) -> io::Result<u64> {
    let mut archive = Archive::new(stream);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_mask(0);
    let mut files = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        if is_taken(&entry) {
            entry.unpack_in("/")?;
            files += 1;
        }
    }
    Ok(files)
}

fn is_taken<R: Read>(entry: &Entry<'_, R>) -> bool {
    use EntryType::{Continuous, Directory, GNUSparse, Link, Regular, Symlink};
    matches!(
        entry.header().entry_type(),
        Regular | Continuous | GNUSparse | Directory | Link | Symlink
    )
}

/// The bytes of a sender: at most so many, and complete only with the trailer.
struct Stream {
    input: File,
    left: u64,
    /// The last bytes that were read.
    last: Vec<u8>,
}

impl Stream {
    const fn new(input: File, most: u64) -> Self {
        Self { input, left: most, last: Vec::new() }
    }

    /// Reads what is behind the archive, whose end must be the trailer.
    fn finish(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink())?;
        if self.last.ends_with(ROOT_TRAILER) {
            return Ok(());
        }
        Err(io::Error::other("its sender stopped before its end"))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let Some(left) = self.left.checked_sub(count as u64) else {
            return Err(io::Error::from_raw_os_error(nix::libc::ENOSPC));
        };
        self.left = left;
        let kept = ROOT_TRAILER.len();
        self.last.extend_from_slice(&buffer[count.saturating_sub(kept)..count]);
        self.last.drain(..self.last.len().saturating_sub(kept));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    fn stream(bytes: &[u8], most: u64) -> Stream {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        Stream::new(file, most)
    }

    #[test]
    fn only_the_trailer_ends_a_stream() {
        let whole = [b"tar and more", ROOT_TRAILER].concat();
        stream(&whole, 1000).finish().unwrap();
        let cut = stream(&whole[..whole.len() - 1], 1000).finish().unwrap_err();
        assert!(cut.to_string().contains("stopped before its end"), "{cut}");
        // However the bytes come.
        let mut slow = stream(&whole, 1000);
        while slow.read(&mut [0; 3]).unwrap() > 0 {}
        slow.finish().unwrap();
    }

    #[test]
    fn more_than_fits_is_refused() {
        let error = stream(&[0; 100], 99).finish().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::ENOSPC));
    }
}
