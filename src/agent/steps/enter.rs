//! The steps that enter namespaces of others, in the words of nsenter(1).

use std::io;

use super::{Sys, build, namespaces, shown};
use crate::agent::failure::{failed, refused};
use crate::namespace::enter::Id;
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::plan::{Handle, Step};
use crate::protocol::outcome::{FailedStep, Failure};

/// What entering asks of the kernel. Open files are kept by their handle.
pub trait Enter {
    /// Fails when the namespaces of a process may not be looked at.
    fn check_target(&mut self, pid: u32) -> io::Result<()>;
    fn open(&mut self, handle: Handle, path: &[u8]) -> io::Result<()>;
    /// Keeps hold of a process for [`Enter::join_held`].
    fn hold_target(&mut self, pid: u32) -> io::Result<()>;
    /// When a process started, in ticks since the boot.
    fn started(&mut self, pid: u32) -> io::Result<u64>;
    /// All at once, or none.
    fn join_held(&mut self, kinds: Kinds) -> io::Result<()>;
    fn join_opened(&mut self, kind: Kind) -> io::Result<()>;
    /// Opens the user namespace that owns the open one of this kind.
    fn open_parent_user(&mut self, of: Kind) -> io::Result<()>;
    /// Opens the network namespace of a process's socket.
    fn open_socket_namespace(&mut self, pid: u32, socket: u32) -> io::Result<()>;
    /// Opens the process list of a process's cgroup; what failed and why.
    fn open_cgroup(&mut self, pid: u32) -> Result<(), (String, Option<io::Error>)>;
    fn move_to_cgroup(&mut self) -> io::Result<()>;
    fn follow_context(&mut self, pid: u32) -> Result<(), ContextError>;
    /// Goes to an open directory.
    fn go_to(&mut self, handle: Handle) -> io::Result<()>;
    /// Replaces the program's environment by the open one.
    fn take_environment(&mut self) -> io::Result<()>;
    /// User and group of the open process.
    fn owner(&mut self) -> io::Result<(u32, u32)>;
}

/// Why a SELinux context could not be taken.
#[derive(Debug)]
pub enum ContextError {
    /// The guest runs without SELinux.
    Off,
    Read(io::Error),
    Write(String, io::Error),
}

/// How far the entering has come.
#[derive(Debug, Default)]
pub struct Entering {
    /// To be joined through the process that is held.
    held: Kinds,
    /// To be joined through an open file.
    opened: Kinds,
    /// Groups could not be dropped outside.
    groups_kept: bool,
}

/// The user namespace first, for those whose privilege comes from it.
const ORDER: [Kind; 8] =
    [Kind::User, Kind::Cgroup, Kind::Ipc, Kind::Uts, Kind::Net, Kind::Pid, Kind::Mount, Kind::Time];

impl Entering {
    /// Takes a step of those that enter.
    pub fn take(&mut self, step: &Step, sys: &mut dyn Sys) -> Result<(), Failure> {
        let or = |result: io::Result<()>, what: &str| result.map_err(|e| namespaces(what, &e));
        match step {
            Step::CheckTarget(pid) => {
                or(sys.check_target(*pid), &format!("stat of /proc/{pid}/ns/user failed"))
            }
            Step::Open(handle, path) => self.open(*handle, path, sys),
            Step::HoldTarget { pid, kinds } => self.hold(*pid, *kinds, sys),
            Step::CheckStarted { pid, started } => check_started(*pid, *started, sys),
            Step::FollowContext(pid) => follow_context(*pid, sys),
            Step::OpenCgroup(pid) => open_cgroup(*pid, sys),
            Step::OpenParentUser(kind) => {
                self.opened.insert(Kind::User);
                self.held = self.held.without(Kinds::NONE.with(Kind::User));
                or(sys.open_parent_user(*kind), "failed to open parent namespace")
            }
            Step::OpenSocketNamespace { pid, socket } => {
                self.opened.insert(Kind::Net);
                self.held = self.held.without(Kinds::NONE.with(Kind::Net));
                let what = format!("pidfd_getfd({pid}, {socket})");
                or(sys.open_socket_namespace(*pid, *socket), &what)
            }
            Step::TryDropGroups => {
                self.groups_kept = sys.drop_groups().is_err();
                Ok(())
            }
            Step::TryJoin(kinds) => {
                // Some need the user namespace's privilege: `Join` has the last word.
                let _ = self.join(*kinds, sys);
                Ok(())
            }
            Step::Join(kinds) => self.join(*kinds, sys),
            Step::TakeIdentity { uid, gid } => self.take_identity(*uid, *gid, sys),
            other => place(other, sys),
        }
    }

    fn open(&mut self, handle: Handle, path: &[u8], sys: &mut dyn Sys) -> Result<(), Failure> {
        if let Handle::Namespace(kind) = handle {
            self.opened.insert(kind);
        }
        let what = || format!("cannot open {}", shown(path));
        sys.open(handle, path).map_err(|e| namespaces(&what(), &e))
    }

    /// A process that cannot be held (it has ended, say) is opened kind by
    /// kind, which tells why not.
    fn hold(&mut self, pid: u32, kinds: Kinds, sys: &mut dyn Sys) -> Result<(), Failure> {
        if sys.hold_target(pid).is_ok() {
            self.held = self.held.union(kinds);
            return Ok(());
        }
        for kind in ORDER.into_iter().filter(|kind| kinds.contains(*kind)) {
            let path = format!("/proc/{pid}/ns/{}", kind.proc_name());
            self.open(Handle::Namespace(kind), path.as_bytes(), sys)?;
        }
        Ok(())
    }

    /// Joins those of `kinds` that are not joined yet; tries all, and returns
    /// the first failure.
    fn join(&mut self, kinds: Kinds, sys: &mut dyn Sys) -> Result<(), Failure> {
        let both = |set: Kinds| set.without(set.without(kinds));
        let (held, opened) = (both(self.held), both(self.opened));
        let mut result = Ok(());
        if !held.is_empty() {
            match sys.join_held(held) {
                Ok(()) => self.held = self.held.without(held),
                Err(e) => result = Err(namespaces("reassociate to namespaces failed", &e)),
            }
        }
        for kind in ORDER.into_iter().filter(|kind| opened.contains(*kind)) {
            match sys.join_opened(kind) {
                Ok(()) => self.opened = self.opened.without(Kinds::NONE.with(kind)),
                Err(e) => {
                    let name = kind.proc_name();
                    let what = format!("reassociate to namespace 'ns/{name}' failed");
                    result = result.and(Err(namespaces(&what, &e)));
                }
            }
        }
        result
    }

    fn take_identity(
        &self,
        uid: Option<Id>,
        gid: Option<Id>,
        sys: &mut dyn Sys,
    ) -> Result<(), Failure> {
        let follows = [uid, gid].contains(&Some(Id::Follow));
        let owner = if follows { sys.owner() } else { Ok((0, 0)) };
        let owner = owner.map_err(|e| namespaces("can not get process stat", &e))?;
        let number = |id: Id, followed: u32| match id {
            Id::Number(number) => number,
            Id::Follow => followed,
        };
        if let Some(gid) = gid {
            let dropped = sys.drop_groups();
            // Once is enough: inside it may be forbidden what was done outside.
            if self.groups_kept {
                dropped.map_err(|e| namespaces("setgroups failed", &e))?;
            }
            let set = sys.set_group(number(gid, owner.1));
            set.map_err(|e| namespaces("setgid() failed", &e))?;
        }
        if let Some(uid) = uid {
            let set = sys.set_user(number(uid, owner.0));
            set.map_err(|e| namespaces("setuid() failed", &e))?;
        }
        Ok(())
    }
}

/// Directories, environment, cgroup.
fn place(step: &Step, sys: &mut dyn Sys) -> Result<(), Failure> {
    let or = |result: io::Result<()>, what: &str| result.map_err(|e| namespaces(what, &e));
    match step {
        Step::RememberDirectory => {
            or(sys.open(Handle::Directory, b"."), "cannot open current working directory")
        }
        Step::EnterRoot => {
            or(sys.go_to(Handle::Root), "change directory by root file descriptor failed")?;
            or(sys.change_root(b"."), "chroot failed")?;
            or(sys.change_directory(b"/"), "cannot change directory to /")
        }
        Step::OpenDirectoryInside(dir) => {
            or(sys.open(Handle::Directory, dir), "cannot open current working directory")
        }
        Step::ReturnToDirectory => {
            let what = "change directory by working directory file descriptor failed";
            or(sys.go_to(Handle::Directory), what)
        }
        Step::TakeEnvironment => or(sys.take_environment(), "failed to get environment variables"),
        Step::MoveToCgroup => or(sys.move_to_cgroup(), "write cgroup.procs failed"),
        other => build::take(other, sys),
    }
}

/// After the process is held: what has its number now has had it then.
fn check_started(pid: u32, started: u64, sys: &mut dyn Sys) -> Result<(), Failure> {
    let what = || format!("cannot read /proc/{pid}/stat");
    let found = sys.started(pid).map_err(|e| namespaces(&what(), &e))?;
    if found == started {
        return Ok(());
    }
    Err(refused(FailedStep::Namespaces, format!("process {pid} is another one by now")))
}

fn open_cgroup(pid: u32, sys: &mut dyn Sys) -> Result<(), Failure> {
    sys.open_cgroup(pid).map_err(|(what, error)| match error {
        Some(error) => failed(FailedStep::Namespaces, what, &error),
        None => refused(FailedStep::Namespaces, what),
    })
}

fn follow_context(pid: u32, sys: &mut dyn Sys) -> Result<(), Failure> {
    sys.follow_context(pid).map_err(|error| match error {
        ContextError::Off => {
            let text = "--follow-context needs SELinux, which this machine runs without";
            refused(FailedStep::Namespaces, text)
        }
        ContextError::Read(e) => namespaces(&format!("failed to get {pid} SELinux context"), &e),
        ContextError::Write(context, e) => {
            namespaces(&format!("failed to set exec context to '{context}'"), &e)
        }
    })
}
