//! Linux and macOS.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process_group};

use super::Ending;

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

/// Whether `path` still leads to this open file.
pub fn is_file_at(file: &File, path: &Path) -> bool {
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

/// Has the kernel end a child when the thread that starts it ends, where the
/// kernel offers that.
pub fn end_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec only prctl(2) is called.
    #[allow(unsafe_code)]
    unsafe {
        use rustix::process::{Signal, set_parent_process_death_signal};
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// Children open no window here.
pub fn hide_window(_: &mut Command) {}

/// Physical memory in bytes.
#[cfg(target_os = "linux")]
pub fn memory_bytes() -> Option<u64> {
    meminfo("MemTotal:")
}

#[cfg(target_os = "linux")]
fn meminfo(field: &str) -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Physical memory in bytes (sysctl(3), `hw.memsize`).
#[cfg(not(target_os = "linux"))]
pub fn memory_bytes() -> Option<u64> {
    let out = Command::new("/usr/sbin/sysctl").args(["-n", "hw.memsize"]).output().ok()?;
    String::from_utf8(out.stdout).ok()?.trim().parse().ok()
}

/// Memory in bytes that programs can take without pushing others out (proc(5),
/// `MemAvailable`).
#[cfg(target_os = "linux")]
pub fn memory_available() -> Option<u64> {
    meminfo("MemAvailable:")
}

/// Memory in bytes that programs can take: half of all, for a Mac's count of
/// free pages leaves out what it gives up at once.
#[cfg(not(target_os = "linux"))]
pub fn memory_available() -> Option<u64> {
    memory_bytes().map(|bytes| bytes / 2)
}

/// Free and total bytes of the file system that holds `path`.
pub fn disk_space(path: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(path)?;
    Ok((found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize))
}

/// Bytes that a file takes on its disk: fewer than its length when it has holes.
pub fn allocated_bytes(found: &fs::Metadata) -> u64 {
    MetadataExt::blocks(found) * 512
}

/// A number that changes when the host boots, and with nothing else.
pub fn boot_id() -> Option<String> {
    #[cfg(target_os = "linux")]
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    #[cfg(not(target_os = "linux"))]
    let id = Command::new("/usr/sbin/sysctl")
        .args(["-n", "kern.bootsessionuuid"])
        .output()
        .ok()
        .and_then(|out| String::from_utf8(out.stdout).ok());
    id.map(|id| id.trim().to_owned())
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
    let has_argument = || process_arguments(pid).is_some_and(|args| args.contains(argument));
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(false);
    };
    if !has_argument() {
        return Ok(false);
    }
    rustix::process::kill_process(process, Signal::KILL)?;
    for _ in 0..100 {
        if !has_argument() {
            return Ok(true);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Err(io::ErrorKind::TimedOut.into())
}

#[cfg(target_os = "linux")]
fn process_arguments(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(not(target_os = "linux"))]
fn process_arguments(pid: u32) -> Option<String> {
    let pid = pid.to_string();
    let out = Command::new("/bin/ps").args(["-ww", "-o", "command=", "-p", &pid]).output().ok()?;
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Whether TLS reads `SSL_CERT_FILE` of itself, in place of the system's CA
/// certificates (crate rustls-native-certs). macOS asks its keychain.
pub fn tls_reads_ssl_cert_file() -> bool {
    cfg!(not(target_os = "macos"))
}

/// Where an administrator puts settings for all users.
pub fn system_config_dir() -> PathBuf {
    "/etc/nsvm".into()
}
