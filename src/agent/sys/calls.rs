//! Kernel calls that need `unsafe`, made safe one by one: the only file of the
//! agent that may.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::unistd::{self, ForkResult};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::PidfdFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// This process, for [`die_with`] in a child.
pub fn own_pidfd() -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?)
}

/// Asks for `signal` when the parent dies, and ends at once when it already
/// has: then nobody waits for this process.
pub fn die_with(parent: &OwnedFd, signal: u8) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a plain number and touches no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::c_ulong::from(signal)) };
    Errno::result(result)?;
    let mut polled = [PollFd::new(parent, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut polled, Some(&now))? > 0 {
        exit_now(1);
    }
    Ok(())
}

/// Ends this process as its child ended.
pub fn die_by(signal: i32) -> ! {
    // SAFETY: SIG_DFL is no function; the other calls take plain numbers.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    let _ = u8::try_from(signal).map(|signal| kill(unistd::getpid().as_raw(), signal));
    exit_now(1)
}

/// The user namespace that owns an open namespace (`ioctl_ns(2)`); of a user
/// namespace its parent.
pub fn parent_user_namespace(namespace: &OwnedFd) -> io::Result<OwnedFd> {
    descriptor_by_ioctl(namespace.as_fd(), NS_GET_USERNS)
}

/// The network namespace of a socket (`sockios.h`, since Linux 4.9).
pub fn socket_namespace(socket: &OwnedFd) -> io::Result<OwnedFd> {
    const SIOCGSKNS: libc::c_ulong = 0x894c;
    descriptor_by_ioctl(socket.as_fd(), SIOCGSKNS)
}

/// `_IO(0xb7, 1)` of `linux/nsfs.h`, and those after it.
const NS_GET_USERNS: libc::c_ulong = 0xb701;
const NS_GET_PARENT: libc::c_ulong = 0xb702;
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;

/// The parent of an open PID or user namespace.
pub fn parent_namespace(namespace: &OwnedFd) -> io::Result<OwnedFd> {
    descriptor_by_ioctl(namespace.as_fd(), NS_GET_PARENT)
}

/// The `CLONE_NEW*` flag of an open namespace.
pub fn namespace_flag(namespace: &OwnedFd) -> io::Result<u32> {
    // SAFETY: the request takes no argument and touches no memory.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE as _) };
    Ok(Errno::result(result)?.cast_unsigned())
}

/// Who made an open user namespace.
pub fn namespace_maker(namespace: &OwnedFd) -> io::Result<u32> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the request writes one uid_t, which lives until after the call.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_OWNER_UID as _, &raw mut uid) };
    Errno::result(result)?;
    Ok(uid)
}

/// An ioctl without argument whose answer is a new descriptor.
fn descriptor_by_ioctl(fd: BorrowedFd<'_>, request: libc::c_ulong) -> io::Result<OwnedFd> {
    // SAFETY: these requests take no argument and touch no memory. (musl
    // declares the request as an int.)
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _) };
    let new = Errno::result(result)?;
    // SAFETY: the kernel has just made it for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// A descriptor that tokio tells when it is ready.
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, always the same, and closed only after the
    // AsyncFd that owns it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    Ok(watched?)
}

/// The same for reading from a descriptor that stays somebody else's.
pub fn watch_borrowed(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: the lifetime keeps the descriptor open and the same.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(watched?)
}

/// `SCHED_OTHER` of linux/sched.h, `SCHED_FLAG_RESET_ON_FORK`, and the size of
/// the first version of `struct sched_attr` (sched_setattr(2)).
const SCHED_OTHER: u32 = 0;
const RESET_ON_FORK: u64 = 1;
const SCHED_ATTR_SIZE: u32 = 48;

/// That version.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks for turns of `slice` nanoseconds on the processor, of the same share as ever:
/// short ones come soon after this process was woken (Linux 6.12, where the kernel's
/// own are 0.7 to 3 ms; before it nothing changes). Its children have the kernel's.
pub fn take_short_turns(slice: u64) -> io::Result<()> {
    let attr = SchedAttr {
        size: SCHED_ATTR_SIZE,
        policy: SCHED_OTHER,
        flags: RESET_ON_FORK,
        nice: 0,
        priority: 0,
        runtime: slice,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of it, of this thread alone.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    Errno::result(result)?;
    Ok(())
}

/// A copy of this process. Only for a process with one thread.
pub fn fork() -> io::Result<ForkResult> {
    // SAFETY: this process has one thread (the server checks it), so no lock
    // is held by a thread that the copy lacks.
    let result = unsafe { unistd::fork() };
    Ok(result?)
}

/// A copy of this process that is a child of this one's parent (clone(2),
/// `CLONE_PARENT`), with the signal at its end that this one has. Only for a
/// process with one thread.
pub fn fork_beside() -> io::Result<ForkResult> {
    let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
    // SAFETY: as for fork(2), of which this is the kernel's part: without a
    // stack of its own the copy goes on on its copy of this one. All else is 0,
    // so the order of the arguments, which differs, does not count.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match Errno::result(result)? {
        0 => Ok(ForkResult::Child),
        pid => {
            let pid = i32::try_from(pid).map_err(io::Error::other)?;
            Ok(ForkResult::Parent { child: unistd::Pid::from_raw(pid) })
        }
    }
}

/// Ends a copy of the agent without running the agent's exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) runs nothing of this program.
    unsafe { libc::_exit(code) }
}

/// Closes the descriptors from `first` to `last`. Kernels before 5.9 cannot;
/// ours are all closed by the exec then.
pub fn close_range(first: u32, last: u32) {
    // SAFETY: called in a copy of the agent that ends by exec or `exit_now`
    // and uses none of these descriptors again.
    unsafe {
        libc::syscall(libc::SYS_close_range, first, last, 0);
    }
}

/// Sends any Linux signal, real-time ones included, to the process group of
/// `leader`; to `leader` alone when it has only just been forked and leads
/// none yet. One that has ended takes none.
pub fn signal_group(leader: u32, signal: u8) {
    let leader = leader.cast_signed();
    if kill(-leader, signal) == Err(Errno::ESRCH) {
        let _ = kill(leader, signal);
    }
}

/// Sends a signal to one process. One that has ended takes none.
pub fn signal_process(pid: u32, signal: u8) {
    let _ = kill(pid.cast_signed(), signal);
}

fn kill(pid: i32, signal: u8) -> nix::Result<()> {
    // SAFETY: kill(2) takes plain numbers.
    let result = unsafe { libc::kill(pid, libc::c_int::from(signal)) };
    Errno::result(result).map(drop)
}

/// Of the UTS namespace.
pub fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `name`.
    let result = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    Ok(Errno::result(result).map(drop)?)
}

fn set_handler(which: Signal, handler: SigHandler) {
    // SAFETY: only SIG_DFL and SIG_IGN are set, never a function.
    let _ = unsafe { signal(which, handler) };
}

/// What a program expects of its signals. Handlers end with the exec, but
/// ignored and blocked signals survive it.
pub fn default_signals() {
    for which in Signal::iterator() {
        // Rust handles these two itself, to tell a stack overflow.
        if !matches!(which, Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGSEGV | Signal::SIGBUS) {
            set_handler(which, SigHandler::SigDfl);
        }
    }
    // nix has no names for real-time signals.
    for realtime in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is no function.
        unsafe {
            libc::signal(realtime, libc::SIG_DFL);
        }
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// For the agent itself: a reader that has gone is an error, not the end.
pub fn ignore_broken_pipes() {
    set_handler(Signal::SIGPIPE, SigHandler::SigIgn);
}

/// Children that end need no wait(2), those of others that come to this
/// process as theirs end included.
pub fn ignore_children() {
    set_handler(Signal::SIGCHLD, SigHandler::SigIgn);
}

/// Undoes [`ignore_broken_pipes`] for a program.
pub fn default_broken_pipes() {
    set_handler(Signal::SIGPIPE, SigHandler::SigDfl);
}

/// Replaces the standard streams by `streams`, and closes all else but `kept`.
pub fn keep_only(streams: [BorrowedFd<'_>; 3], kept: BorrowedFd<'_>) -> io::Result<()> {
    let [stdin, stdout, stderr] = streams;
    rustix::stdio::dup2_stdin(stdin.as_fd())?;
    rustix::stdio::dup2_stdout(stdout.as_fd())?;
    rustix::stdio::dup2_stderr(stderr.as_fd())?;
    let kept = kept.as_raw_fd().unsigned_abs();
    if kept > 3 {
        close_range(3, kept - 1);
    }
    close_range(kept + 1, u32::MAX);
    Ok(())
}

/// A detached copy of the one mount at `path` (`open_tree(2)`), read-only, and
/// id-mapped by a user namespace if one is given (`mount_setattr(2)`, since
/// Linux 5.12). EINVAL: the file system cannot be id-mapped.
pub fn clone_read_only(path: &OsStr, namespace: Option<&File>) -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: libc::c_uint = 1;
    const MOUNT_ATTR_RDONLY: u64 = 1;
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let path = CString::new(path.as_bytes())?;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned();
    // SAFETY: the path is a C string that lives until after the call.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let tree = i32::try_from(Errno::result(tree)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it for us alone.
    let tree = unsafe { OwnedFd::from_raw_fd(tree) };
    // struct mount_attr of linux/mount.h: set, clear, propagation, userns.
    let mut attributes = [MOUNT_ATTR_RDONLY, 0, 0, 0_u64];
    if let Some(namespace) = namespace {
        attributes[0] |= MOUNT_ATTR_IDMAP;
        attributes[3] = u64::from(namespace.as_raw_fd().unsigned_abs());
    }
    // SAFETY: the kernel reads the four numbers, whose size it is told.
    let result = unsafe {
        let (tree, empty) = (tree.as_raw_fd(), c"".as_ptr());
        let size = size_of_val(&attributes);
        let flags = libc::AT_EMPTY_PATH;
        libc::syscall(libc::SYS_mount_setattr, tree, empty, flags, attributes.as_ptr(), size)
    };
    Errno::result(result)?;
    Ok(tree)
}

/// Mounts what [`clone_read_only`] has made on a directory.
pub fn attach(tree: &OwnedFd, dir: &Path) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
    let dir = CString::new(dir.as_os_str().as_bytes())?;
    let (from, empty, here) = (tree.as_raw_fd(), c"".as_ptr(), libc::AT_FDCWD);
    // SAFETY: both paths are C strings that live until after the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from,
            empty,
            here,
            dir.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    Errno::result(result)?;
    Ok(())
}

/// Brings up `lo` in the present network namespace (`netdevice(7)`).
pub fn raise_loopback() -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    // SAFETY: all zeroes is a valid ifreq: numbers and an empty name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed() as libc::c_char;
    }
    // IFF_UP is 1, and a loopback device has no other flag that could be set.
    request.ifr_ifru.ifru_flags = 1;
    // SAFETY: the request reads one ifreq, which lives until after the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) };
    Errno::result(result)?;
    Ok(())
}

/// Mixes `seed` into the kernel's random numbers and has the generator take it
/// up at once (`random(4)`).
pub fn reseed(seed: &[u8]) -> io::Result<()> {
    /// `_IOW('R', 0x03, int[2])` and `_IO('R', 0x07)` of `linux/random.h`.
    const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
    const RNDRESEEDCRNG: libc::c_ulong = 0x5207;
    let device = File::open("/dev/urandom")?;
    // struct rand_pool_info: how many bits it is worth, how many bytes, bytes.
    let length = i32::try_from(seed.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut pool = [(length * 8).to_ne_bytes(), length.to_ne_bytes()].concat();
    pool.extend(seed);
    // SAFETY: the request reads the two numbers and as many bytes behind them as
    // the second says, which live until after the call.
    let added = unsafe { libc::ioctl(device.as_raw_fd(), RNDADDENTROPY as _, pool.as_ptr()) };
    Errno::result(added)?;
    // SAFETY: the request takes no argument.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG as _) };
    Errno::result(done)?;
    Ok(())
}
