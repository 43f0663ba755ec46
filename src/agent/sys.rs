//! The kernel calls of a new process: the only file of the agent that may be
//! unsafe.
//!
//! Everything here runs between fork and exec, in a copy of the agent that
//! has one thread; such a copy may allocate. It must not return into the
//! agent's own code: it ends by exec or by [`exit_now`].

use std::ffi::{CString, OsStr};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{self, ForkResult, Gid, Pid, Uid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{DumpableBehavior, PidfdFlags, WaitOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::failure::failed;
use super::program::Program;
use super::report::Report;
use super::steps::{Sys, WriteError};
use crate::namespace::idmap;
use crate::namespace::kind::Kinds;
use crate::namespace::plan::{Credentials, IdMaps};
use crate::namespace::spec::Propagation;
use crate::protocol::outcome::FailedStep;

/// The kernel, for the process that is about to become `program`.
pub struct Kernel<'a> {
    program: &'a Program,
    /// Closed by the exec.
    reports: BorrowedFd<'a>,
    mapper: Option<Mapper>,
}

/// The process that writes id maps from outside.
struct Mapper {
    pid: Pid,
    /// A byte on it says: the user namespace exists.
    go: OwnedFd,
    dumpable: DumpableBehavior,
}

impl<'a> Kernel<'a> {
    pub const fn new(program: &'a Program, reports: BorrowedFd<'a>) -> Self {
        Self { program, reports, mapper: None }
    }

    fn report(&self, report: &Report) {
        // Without a reader nobody wants to know.
        let _ = rustix::io::write(self.reports, &report.encode());
    }

    /// The parent's end of `--fork`: it passes on how the child ends, as
    /// unshare(1) does.
    fn stay_behind(&self, child: Pid) -> ! {
        let Some(child) = rustix::process::Pid::from_raw(child.as_raw()) else { exit_now(1) };
        self.report(&Report::Forked(child.as_raw_nonzero().get().unsigned_abs()));
        // A copy of the agent's memory: no core file, no debugger.
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let _ = rustix::thread::set_name(c"unshare");
        // The program alone decides when its streams end.
        close_range(0, 2);
        loop {
            // rustix, because nix knows no real-time signals.
            match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(Some((_, status))) => {
                    match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => exit_now(code),
                        (_, Some(signal)) => die_by(signal),
                        _ => {}
                    }
                }
                _ => exit_now(1),
            }
        }
    }
}

impl Sys for Kernel<'_> {
    fn become_user(&mut self, credentials: &Credentials) -> io::Result<()> {
        let Credentials { uid, gid, groups } = credentials;
        let own = (unistd::geteuid(), unistd::getegid());
        if !own.0.is_root() && own == (Uid::from_raw(*uid), Gid::from_raw(*gid)) {
            return Ok(());
        }
        let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
        unistd::setgroups(&groups)?;
        unistd::setgid(Gid::from_raw(*gid))?;
        Ok(unistd::setuid(Uid::from_raw(*uid))?)
    }

    fn unshare(&mut self, kinds: Kinds) -> io::Result<()> {
        // nix has no name for time namespaces; the kernel checks the bits.
        let flags = CloneFlags::from_bits_retain(kinds.clone_flags().cast_signed());
        Ok(nix::sched::unshare(flags)?)
    }

    fn start_id_mapper(&mut self, maps: &IdMaps) -> io::Result<()> {
        let (wait, go) = unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let target = unistd::getpid();
        // newuidmap looks at who owns /proc/PID.
        let dumpable = rustix::process::dumpable_behavior()?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        match fork()? {
            ForkResult::Child => {
                drop(go);
                self.write_maps_for(target, maps, &wait)
            }
            ForkResult::Parent { child } => {
                self.mapper = Some(Mapper { pid: child, go, dumpable });
                Ok(())
            }
        }
    }

    fn finish_id_mapper(&mut self) -> io::Result<bool> {
        let Some(Mapper { pid, go, dumpable }) = self.mapper.take() else { return Ok(true) };
        rustix::io::write(&go, b"!")?;
        let status = loop {
            match waitpid(pid, None) {
                Err(Errno::EINTR) => {}
                status => break status?,
            }
        };
        rustix::process::set_dumpable_behavior(dumpable)?;
        Ok(matches!(status, WaitStatus::Exited(_, 0)))
    }

    /// A process that has changed its user does not own its own /proc files
    /// unless it is dumpable. It is so only while it writes, because other
    /// processes of the user could look into it then.
    fn write_proc(&mut self, file: &str, text: &str) -> Result<(), WriteError> {
        let before = rustix::process::dumpable_behavior();
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable);
        let result = write_file(&format!("/proc/self/{file}"), text);
        if let Ok(before) = before {
            let _ = rustix::process::set_dumpable_behavior(before);
        }
        result
    }

    fn fork(&mut self, kill_child: Option<u8>) -> io::Result<()> {
        let parent = match kill_child {
            None => None,
            Some(signal) => Some((signal, own_pidfd()?)),
        };
        // As in unshare(1): the parent waits although Ctrl-C reaches it too.
        let patient: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&patient), Some(&mut before))?;
        match fork()? {
            ForkResult::Parent { child } => self.stay_behind(child),
            ForkResult::Child => {
                sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
                parent.map_or(Ok(()), |(signal, pidfd)| die_with(&pidfd, signal))
            }
        }
    }

    fn set_propagation(&mut self, path: &[u8], propagation: Propagation) -> io::Result<()> {
        let how = match propagation {
            Propagation::Slave => MsFlags::MS_SLAVE,
            Propagation::Private => MsFlags::MS_PRIVATE,
            Propagation::Shared => MsFlags::MS_SHARED,
            Propagation::Unchanged => return Ok(()),
        };
        let flags = MsFlags::MS_REC | how;
        Ok(mount(Some("none"), OsStr::from_bytes(path), None::<&str>, flags, None::<&str>)?)
    }

    fn mount_proc(&mut self, dir: &[u8]) -> io::Result<()> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
        let dir = OsStr::from_bytes(dir);
        Ok(mount(Some("proc"), dir, Some("proc"), flags, None::<&str>)?)
    }

    fn change_root(&mut self, dir: &[u8]) -> io::Result<()> {
        Ok(unistd::chroot(OsStr::from_bytes(dir))?)
    }

    fn change_directory(&mut self, dir: &[u8]) -> io::Result<()> {
        Ok(unistd::chdir(OsStr::from_bytes(dir))?)
    }

    fn drop_groups(&mut self) -> io::Result<()> {
        Ok(unistd::setgroups(&[])?)
    }

    fn set_group(&mut self, gid: u32) -> io::Result<()> {
        Ok(unistd::setgid(Gid::from_raw(gid))?)
    }

    fn set_user(&mut self, uid: u32) -> io::Result<()> {
        Ok(unistd::setuid(Uid::from_raw(uid))?)
    }

    fn keep_capabilities(&mut self) -> io::Result<()> {
        let mut sets = rustix::thread::capabilities(None)?;
        sets.inheritable = sets.permitted;
        rustix::thread::set_capabilities(None, sets)?;
        for capability in sets.permitted.iter() {
            rustix::thread::configure_capability_in_ambient_set(capability, true)?;
        }
        Ok(())
    }

    /// As execvp(3): a script without an interpreter line goes to the shell,
    /// and a file that may not be executed is told only when nothing else was.
    fn exec(&mut self) -> io::Error {
        let Program { candidates, argv, env, .. } = self.program;
        let mut last = Errno::ENOENT;
        for path in candidates {
            let Err(error) = unistd::execve(path, argv, env);
            match error {
                Errno::ENOEXEC => return self.exec_by_shell(path).into(),
                Errno::EACCES => last = error,
                Errno::ENOENT
                | Errno::ENOTDIR
                | Errno::ENODEV
                | Errno::ESTALE
                | Errno::ETIMEDOUT => {}
                other => return other.into(),
            }
        }
        last.into()
    }
}

impl Kernel<'_> {
    fn exec_by_shell(&self, path: &CString) -> Errno {
        let mut argv = vec![c"/bin/sh".to_owned(), path.clone()];
        argv.extend(self.program.argv.iter().skip(1).cloned());
        let Err(error) = unistd::execve(c"/bin/sh", &argv, &self.program.env);
        error
    }

    /// In the mapping process: root writes the maps itself, others ask
    /// newuidmap(1) and newgidmap(1).
    fn write_maps_for(&self, target: Pid, maps: &IdMaps, wait: &OwnedFd) -> ! {
        let mut byte = [0];
        if rustix::io::read(wait, &mut byte) != Ok(1) {
            exit_now(1);
        }
        for (file, tool, ranges) in
            [("uid_map", "newuidmap", &maps.users), ("gid_map", "newgidmap", &maps.groups)]
        {
            if ranges.is_empty() {
                continue;
            }
            let written = if unistd::geteuid().is_root() {
                self.write_map(&format!("/proc/{target}/{file}"), &idmap::lines(ranges))
            } else {
                self.run_map_tool(tool, target, &idmap::lines(ranges))
            };
            if !written {
                exit_now(1);
            }
        }
        exit_now(0)
    }

    fn write_map(&self, path: &str, lines: &str) -> bool {
        let (what, error) = match write_file(path, lines) {
            Ok(()) => return true,
            Err(WriteError::Open(error)) => (format!("failed to open {path}"), error),
            Err(WriteError::Write(error)) => (format!("failed to write {path}"), error),
        };
        self.report(&Report::Failed(failed(FailedStep::Namespaces, what, &error)));
        false
    }

    fn run_map_tool(&self, tool: &str, target: Pid, lines: &str) -> bool {
        let found = ["/usr/bin", "/bin", "/usr/local/bin"].map(|dir| format!("{dir}/{tool}"));
        let path = found.iter().find(|path| Path::new(path).exists()).unwrap_or(&found[0]);
        let numbers = lines.split_whitespace();
        let status =
            std::process::Command::new(path).arg(target.to_string()).args(numbers).status();
        match status {
            Ok(status) => status.success(),
            Err(e) => {
                let what = format!("failed to execute {tool}");
                self.report(&Report::Failed(failed(FailedStep::Namespaces, what, &e)));
                false
            }
        }
    }
}

/// One write, as these files demand.
fn write_file(path: &str, text: &str) -> Result<(), WriteError> {
    let mut file = OpenOptions::new().write(true).open(path).map_err(WriteError::Open)?;
    file.write_all(text.as_bytes()).map_err(WriteError::Write)
}

fn own_pidfd() -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?)
}

/// Asks for `signal` when the parent dies, and ends at once when it already
/// has: then nobody waits for this process.
fn die_with(parent: &OwnedFd, signal: u8) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a plain number and touches no memory.
    #[allow(unsafe_code)]
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
fn die_by(signal: i32) -> ! {
    // SAFETY: SIG_DFL is no function; the other calls take plain numbers.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    let _ = u8::try_from(signal).map(|signal| kill(unistd::getpid().as_raw(), signal));
    exit_now(1)
}

/// A descriptor that tokio tells when it is ready.
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, always the same, and closed only after the
    // AsyncFd that owns it.
    #[allow(unsafe_code)]
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    Ok(watched?)
}

/// The same for reading from a descriptor that stays somebody else's.
pub fn watch_borrowed(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: the lifetime keeps the descriptor open and the same.
    #[allow(unsafe_code)]
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(watched?)
}

/// A copy of this process. Only for a process with one thread.
pub fn fork() -> io::Result<ForkResult> {
    // SAFETY: this process has one thread (the server checks it), so no lock
    // is held by a thread that the copy lacks.
    #[allow(unsafe_code)]
    let result = unsafe { unistd::fork() };
    Ok(result?)
}

/// Ends a copy of the agent without running the agent's exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) runs nothing of this program.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(code)
    }
}

/// Closes the descriptors from `first` to `last`. Kernels before 5.9 cannot;
/// ours are all closed by the exec then.
pub fn close_range(first: u32, last: u32) {
    // SAFETY: called in a copy of the agent that ends by exec or `exit_now`
    // and uses none of these descriptors again.
    #[allow(unsafe_code)]
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

fn kill(pid: i32, signal: u8) -> nix::Result<()> {
    // SAFETY: kill(2) takes plain numbers.
    #[allow(unsafe_code)]
    let result = unsafe { libc::kill(pid, libc::c_int::from(signal)) };
    Errno::result(result).map(drop)
}

fn set_handler(which: Signal, handler: SigHandler) {
    // SAFETY: only SIG_DFL and SIG_IGN are set, never a function.
    #[allow(unsafe_code)]
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
        #[allow(unsafe_code)]
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

/// Undoes [`ignore_broken_pipes`] for a program.
pub fn default_broken_pipes() {
    set_handler(Signal::SIGPIPE, SigHandler::SigDfl);
}

/// How many threads this process has (proc(5)).
pub fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
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
