//! Linux and macOS.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{Ending, process_arguments, process_started};

/// Where a path leads to behind all links.
pub fn resolved(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or(path)
}

/// Installers write nothing down here.
pub fn qemu_directory() -> Option<PathBuf> {
    None
}

/// Removes a file, also one that is read-only.
pub fn remove_file(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// The path that somebody typed: here that is as it is.
pub fn as_typed(path: PathBuf) -> PathBuf {
    path
}

/// Every directory can hold a socket.
pub const SOCKETS_FIT_EVERYWHERE: bool = true;

/// Lets only the owner in: 0600 for a file, 0700 for a directory.
pub fn restrict_to_owner(path: &Path) -> io::Result<()> {
    let mode = if fs::metadata(path)?.is_dir() { 0o700 } else { 0o600 };
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Whether nobody but its owner may do anything with the file.
pub fn is_owners_alone(path: &Path) -> io::Result<bool> {
    const GROUP_AND_OTHERS: u32 = 0o077;
    Ok(fs::metadata(path)?.permissions().mode() & GROUP_AND_OTHERS == 0)
}

/// The number of this user.
pub fn user_id() -> Option<u32> {
    Some(rustix::process::getuid().as_raw())
}

/// Undoes the 0600 of a temporary file: the user's files are world readable
/// unless they are secrets.
pub fn allow_default(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

/// The file, locked; `None` while another holds it. Its holder may remove it.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            // Its last holder may have removed the file meanwhile: then
            // this one locks nothing that others would see.
            Ok(()) if !is_file_at(&file, path) => {}
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
}

/// Whether some process holds the lock. A missing file is an unlocked one.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    // Shared: two askers never take each other for a holder.
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Whether `path` still leads to this open file.
fn is_file_at(file: &File, path: &Path) -> bool {
    let there = fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let open = file.metadata().map(|found| (found.dev(), found.ino()));
    matches!((there, open), (Ok(there), Ok(open)) if there == open)
}

/// Renames never fail here because another program reads the target.
pub fn is_sharing_violation(_: &io::Error) -> bool {
    false
}

/// A directory for sockets whose path is short: below `/tmp`, owned by this
/// user alone, told apart by `tag`.
pub fn short_runtime_dir(tag: &str) -> PathBuf {
    PathBuf::from(format!("/tmp/nsvm-{}-{tag}", rustix::process::getuid().as_raw()))
}

/// Creates a directory below a shared one such as /tmp; refuses one that
/// belongs to somebody else or is a link.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e),
    }
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("\"{}\" is not a directory of this user", dir.display()),
        ));
    }
    restrict_to_owner(dir)
}

/// Leaves the terminal and process group of whoever started this process, so
/// that a Ctrl-C or a closed window never reaches it.
pub fn leave_session() -> io::Result<()> {
    match rustix::process::setsid() {
        // PERM: already the leader of its own session.
        Ok(_) | Err(rustix::io::Errno::PERM) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Leaves the CPU to everybody else; children do so, too.
pub fn be_nice() -> io::Result<()> {
    const LEAST: i32 = 19;
    Ok(rustix::process::setpriority_process(None, LEAST)?)
}

/// Starts the command in a process group of its own: the terminal's Ctrl-C
/// does not reach it, and [`end_group`] reaches all it started.
pub fn own_group(command: &mut Command) {
    command.process_group(0);
}

/// Ends the process group of a child started with [`own_group`].
pub fn end_group(child: &mut Child, ending: Ending) {
    let signal = match ending {
        Ending::Polite => Signal::TERM,
        Ending::Forced => Signal::KILL,
    };
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // An error means that none of the group is left.
        let _ = kill_process_group(group, signal);
    }
}

/// Whether a child started from now on inherits `file`.
pub fn set_inheritable(file: &impl AsFd, inheritable: bool) -> io::Result<()> {
    let flags = if inheritable { FdFlags::empty() } else { FdFlags::CLOEXEC };
    Ok(fcntl_setfd(file, flags)?)
}

/// Lets `command`, and no other child, inherit `file` and with it the lock on
/// it. The answer is whether that works here: the lock then lasts as long as
/// the child, even when this process lets go of it.
pub fn inherit(command: &mut Command, file: &File) -> io::Result<bool> {
    let file = file.try_clone()?;
    // SAFETY: between fork and exec only fcntl(2) is called.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || set_inheritable(&file, true));
    }
    Ok(true)
}

/// Doubles every occurrence of an ASCII character and leaves all else as it
/// is, whether or not it is UTF-8.
pub fn double(value: &OsStr, ascii: u8) -> OsString {
    let bytes = value.as_bytes().iter().copied();
    let twice = |byte| 1 + usize::from(byte == ascii);
    OsString::from_vec(bytes.flat_map(|byte| std::iter::repeat_n(byte, twice(byte))).collect())
}

/// Terminals speak sequences anyway.
pub fn speak_sequences() -> io::Result<()> {
    Ok(())
}

/// Nothing to undo of [`speak_sequences`].
pub fn restore_console() {}

/// What is typed, while the terminal is raw.
pub fn keys() -> impl Read + Send + 'static {
    io::stdin()
}

/// A standard stream that takes any bytes, also if it is a terminal.
pub fn screen(stream: impl Write + Send + 'static) -> Box<dyn Write + Send> {
    Box::new(stream)
}

/// Children open no window here.
pub fn hide_window(_: &mut Command) {}

/// Free and total bytes of the file system that holds `path`.
pub fn disk_space(path: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(path)?;
    Ok((found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize))
}

/// Bytes that a file takes on its disk: fewer than its length when it has holes.
pub fn allocated_bytes(found: &fs::Metadata) -> u64 {
    MetadataExt::blocks(found) * 512
}

/// Prepares a child that shall outlive this process: it leaves the session
/// itself, as its first act.
pub fn detach(_: &mut Command) {}

/// Closes what a careless parent let us inherit beyond the three standard
/// streams, lest its pipes stay open as long as we live. For the very start
/// of `main`, before anything else is open.
#[allow(unsafe_code)]
pub fn close_inherited_files() {
    let Ok(entries) = fs::read_dir("/dev/fd") else { return };
    let open: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // SAFETY: nothing in this process owns a file yet. The listing above
        // named itself too and is closed by now, which the first call tells.
        unsafe {
            if rustix::io::fcntl_getfd(BorrowedFd::borrow_raw(fd)).is_ok() {
                rustix::io::close(fd);
            }
        }
    }
}

/// Kills the process `pid` if `argument` is among its arguments, and waits
/// for its end; `false` when it is not that process.
pub fn kill_process_with_argument(pid: u32, argument: &str) -> io::Result<bool> {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(false);
    };
    // Number and start name one process: that whose arguments are read is that
    // which is killed.
    let Some(started) = process_started(pid) else { return Ok(false) };
    let is_it = || process_started(pid) == Some(started);
    let has_argument = || process_arguments(pid).is_some_and(|args| args.contains(argument));
    if !has_argument() || !is_it() {
        return Ok(false);
    }
    match rustix::process::kill_process(process, Signal::KILL) {
        // It has ended just now.
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        killed => killed?,
    }
    for _ in 0..100 {
        // What nobody has waited for is still there, without arguments.
        if !is_it() || !has_argument() {
            return Ok(true);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Where an administrator puts settings for all users.
pub fn system_config_dir() -> PathBuf {
    "/etc/nsvm".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_with_the_argument_is_killed() {
        let mut command = Command::new("sh");
        command.args(["-c", ": 2f9c4f0a-1c5e-4d0e; read nothing; :"]);
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        // Its memory is its own before its arguments are in it (execve(2)).
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while process_arguments(child.id()).is_none_or(|args| !args.contains("2f9c4f0a")) {
            assert!(std::time::Instant::now() < end, "no arguments");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(!kill_process_with_argument(child.id(), "another").unwrap());
        assert!(child.try_wait().unwrap().is_none());
        assert!(kill_process_with_argument(child.id(), "2f9c4f0a-1c5e-4d0e").unwrap());
        assert!(!child.wait().unwrap().success());
        assert!(!kill_process_with_argument(child.id(), "2f9c4f0a-1c5e-4d0e").unwrap());
    }
}
