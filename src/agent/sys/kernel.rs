//! [`Sys`] by the real kernel.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{self, ForkResult, Gid, Pid, Uid};
use rustix::process::{DumpableBehavior, WaitOptions, dumpable_behavior, set_dumpable_behavior};

use super::calls::{close_range, die_by, die_with, exit_now, fork, own_pidfd};
use super::mapper::Mapper;
use super::{report, write_file};
use crate::agent::program::Program;
use crate::agent::report::Report;
use crate::agent::steps::{Sys, WriteError};
use crate::namespace::kind::Kinds;
use crate::namespace::plan::{Credentials, IdMaps};
use crate::namespace::spec::Propagation;

/// The kernel, for the process that is about to become `program`.
pub struct Kernel<'a> {
    program: &'a Program,
    /// Closed by the exec.
    reports: BorrowedFd<'a>,
    mapper: Option<Mapper>,
}

impl<'a> Kernel<'a> {
    pub const fn new(program: &'a Program, reports: BorrowedFd<'a>) -> Self {
        Self { program, reports, mapper: None }
    }

    /// The parent's end of `--fork`: it passes on how the child ends, as
    /// unshare(1) does.
    fn stay_behind(&self, child: Pid) -> ! {
        let Some(child) = rustix::process::Pid::from_raw(child.as_raw()) else { exit_now(1) };
        report(self.reports, &Report::Forked(child.as_raw_nonzero().get().unsigned_abs()));
        // A copy of the agent's memory: no core file, no debugger.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
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
        self.mapper = Some(Mapper::start(maps, self.reports)?);
        Ok(())
    }

    fn finish_id_mapper(&mut self) -> io::Result<bool> {
        self.mapper.take().map_or(Ok(true), Mapper::finish)
    }

    /// A process that has changed its user does not own its own /proc files
    /// unless it is dumpable. It is so only while it writes, because other
    /// processes of the user could look into it then.
    fn write_proc(&mut self, file: &str, text: &str) -> Result<(), WriteError> {
        let before = dumpable_behavior();
        let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
        let result = write_file(&format!("/proc/self/{file}"), text);
        if let Ok(before) = before {
            let _ = set_dumpable_behavior(before);
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
}
