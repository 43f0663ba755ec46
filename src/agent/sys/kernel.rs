//! [`Sys`] by the real kernel.

use std::ffi::{CString, OsStr};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{self, ForkResult, Gid, Uid};
use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};

use super::build::Staging;
use super::calls::{die_with, fork, own_pidfd};
use super::companion::Companion;
use super::handles::Handles;
use super::mapper::write_maps;
use super::parent::{patient, stay_behind};
use super::{binder, own_credentials, write_file};
use crate::agent::network;
use crate::agent::program::Program;
use crate::agent::report::{Report, ReportTo};
use crate::agent::steps::{Sys, WriteError};
use crate::namespace::enter::KindFile;
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::plan::{Credentials, IdMaps, Parent};
use crate::namespace::spec::Propagation;

/// The kernel, for the process that is about to become `program`.
pub struct Kernel<'a> {
    program: &'a Program,
    /// Closed by the exec.
    reports: ReportTo<'a>,
    /// Its control group, if it has one of its own.
    cgroup: Option<&'a Path>,
    mapper: Option<Companion>,
    binder: Option<Companion>,
    connector: Option<Companion>,
    pub(super) handles: Handles,
    pub(super) staging: Staging,
    /// The program in another environment.
    pub(super) replaced: Option<Program>,
}

impl<'a> Kernel<'a> {
    pub fn new(program: &'a Program, reports: ReportTo<'a>, cgroup: Option<&'a Path>) -> Self {
        Self {
            program,
            reports,
            cgroup,
            mapper: None,
            binder: None,
            connector: None,
            handles: Handles::new(),
            staging: Staging::default(),
            replaced: None,
        }
    }

    /// What the exec will run.
    pub(super) fn program(&self) -> &Program {
        self.replaced.as_ref().unwrap_or(self.program)
    }
}

impl Sys for Kernel<'_> {
    fn confine(&mut self) -> io::Result<()> {
        let group = self.cgroup.ok_or(io::ErrorKind::NotFound)?;
        // 0 is the process that writes.
        OpenOptions::new().write(true).open(group.join("cgroup.procs"))?.write_all(b"0")
    }

    fn become_user(&mut self, credentials: &Credentials) -> io::Result<()> {
        let Credentials { uid, gid, groups } = credentials;
        let own = own_credentials()?;
        let same = (own.uid, own.gid) == (*uid, *gid);
        // Who is not root may not even set the groups it has.
        if same && (own.uid != 0 || own.groups == *groups) {
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

    fn lacking(&self, kinds: Kinds) -> Kinds {
        let own = Path::new("/proc/self/ns");
        let lacks = |kind: &Kind| own.exists() && !own.join(kind.proc_name()).exists();
        kinds.iter().filter(lacks).collect()
    }

    fn start_id_mapper(&mut self, maps: &IdMaps) -> io::Result<()> {
        let work = |target| write_maps(target, maps, self.reports);
        self.mapper = Some(Companion::start(work)?);
        Ok(())
    }

    fn finish_id_mapper(&mut self) -> io::Result<bool> {
        self.mapper.take().map_or(Ok(true), Companion::finish)
    }

    fn start_connector(&mut self) -> io::Result<()> {
        let work = |target| match network::connect(target) {
            Ok(()) => true,
            Err(e) => {
                self.reports.tell(&Report::Failed(e.failure()));
                false
            }
        };
        self.connector = Some(Companion::start_as_root(work)?);
        Ok(())
    }

    fn finish_connector(&mut self) -> io::Result<bool> {
        self.connector.take().map_or(Ok(true), Companion::finish)
    }

    fn set_loopback_up(&mut self) -> io::Result<()> {
        network::loopback_up()
    }

    fn show_file(&mut self, of: &[u8], at: &[u8]) -> io::Result<()> {
        let (of, at) = (OsStr::from_bytes(of), OsStr::from_bytes(at));
        Ok(mount(Some(of), at, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
    }

    fn start_binder(&mut self, files: &[KindFile]) -> io::Result<()> {
        let work = |target| binder::bind_for(target, files, self.reports);
        self.binder = Some(Companion::start(work)?);
        Ok(())
    }

    fn finish_binder(&mut self) -> io::Result<bool> {
        self.binder.take().map_or(Ok(true), Companion::finish)
    }

    fn bind(&mut self, file: &KindFile) -> io::Result<()> {
        binder::bind("self", file)
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

    fn fork(&mut self, parent: &Parent) -> io::Result<()> {
        let death = match parent.kill_child {
            None => None,
            Some(signal) => Some((signal, own_pidfd()?)),
        };
        // As in unshare(1): the parent waits although Ctrl-C reaches it too.
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&patient()), Some(&mut before))?;
        let binder = self.binder.take();
        match fork()? {
            ForkResult::Parent { child } => stay_behind(child, parent, binder, self.reports),
            ForkResult::Child => {
                drop(binder);
                sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
                death.map_or(Ok(()), |(signal, pidfd)| die_with(&pidfd, signal))
            }
        }
    }

    fn set_hostname(&mut self, name: &str) -> io::Result<()> {
        super::calls::set_hostname(name)
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

    fn mount_binfmt(&mut self, dir: &[u8]) -> io::Result<()> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
        let (name, dir) = (Some("binfmt_misc"), OsStr::from_bytes(dir));
        Ok(mount(name, dir, name, flags, None::<&str>)?)
    }

    fn register_interpreter(&mut self, dir: &[u8], line: &[u8]) -> Result<(), WriteError> {
        let path = Path::new(OsStr::from_bytes(dir)).join("register");
        let mut file = OpenOptions::new().write(true).open(path).map_err(WriteError::Open)?;
        file.write_all(line).map_err(WriteError::Write)
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
        let Program { candidates, argv, env, .. } = self.program();
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
        argv.extend(self.program().argv.iter().skip(1).cloned());
        let Err(error) = unistd::execve(c"/bin/sh", &argv, &self.program().env);
        error
    }
}
