//! Control groups of version 2 (cgroups(7)): one below `/sys/fs/cgroup/nsvm`
//! for whatever has limits, and none for what has not.
//!
//! They are not made below the agent's own unit: a group with processes in it
//! cannot hand out controllers to groups below it, and the agent, which
//! systemd starts anew in its unit's group, would be such a process.

mod events;
mod name;
mod setup;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

pub use name::of_named as named;

use super::failure::{refused, text};
use super::sys;
use crate::namespace::limits::Limits;
use crate::protocol::outcome::{FailedStep, Failure};

/// Where systemd and OpenRC mount them.
const MOUNT: &str = "/sys/fs/cgroup";

/// Parent of all groups that are made here.
const OURS: &str = "nsvm";

/// Why something cannot be limited.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error(
        "limits need control groups of version 2, which {MOUNT} is not here: \
         boot with systemd.unified_cgroup_hierarchy=1"
    )]
    Version,
    #[error("{option} needs the controller \"{controller}\", which this kernel does not offer")]
    Controller { option: &'static str, controller: &'static str },
    #[error("--io-weight is not possible: this kernel cannot weigh the requests to its disks")]
    Weight,
    #[error("cannot {doing} {}: {}", .path.display(), text(.source))]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl CgroupError {
    /// As the reason why a program did not start.
    pub fn failure(&self) -> Failure {
        let failure = refused(FailedStep::Limits, self.to_string());
        match self {
            Self::Io { source, .. } => {
                Failure { errno: source.raw_os_error().unwrap_or(0), ..failure }
            }
            _ => failure,
        }
    }

    fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// The groups of this system that are ours.
#[derive(Debug)]
pub struct Cgroups {
    mount: PathBuf,
}

/// One group. It stays when this is dropped.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

/// The group of one command.
#[derive(Debug)]
pub struct Confined {
    cgroup: Cgroup,
    limits: Limits,
    /// What had been killed in it before the command.
    killed_before: u64,
    /// Others are in it too: it does not go with the command.
    shared: bool,
}

impl Cgroups {
    /// Fails where the system's hierarchy is not of version 2.
    pub fn of_system() -> Result<Self, CgroupError> {
        let mount = PathBuf::from(MOUNT);
        match statfs(&mount) {
            Ok(found) if found.filesystem_type() == CGROUP2_SUPER_MAGIC => Ok(Self { mount }),
            _ => Err(CgroupError::Version),
        }
    }

    /// A group of this name, with these limits and nothing in it. One that is
    /// there already gets the limits.
    pub fn create(&self, name: &str, limits: &Limits) -> Result<Cgroup, CgroupError> {
        let ours = self.mount.join(OURS);
        let made = setup::ensure_dir(&ours).and_then(|()| {
            setup::hand_out(&self.mount, &ours, limits)?;
            let path = ours.join(name);
            setup::ensure_dir(&path)?;
            Ok(Cgroup { path })
        })?;
        setup::limit(&made.path, limits).inspect_err(|_| drop(made.remove()))?;
        Ok(made)
    }

    /// The group of this name, which may not be there.
    pub fn named(&self, name: &str) -> Cgroup {
        Cgroup { path: self.mount.join(OURS).join(name) }
    }

    /// A group for one command, until that is dropped or
    /// [`Confined::clear_away`].
    pub fn confine(&self, limits: &Limits) -> Result<Confined, CgroupError> {
        // Agents that serve one request leave what outlives it to the next.
        for group in self.left_over() {
            let _ = group.remove();
        }
        let cgroup = self.create(&name::next(), limits)?;
        Ok(Confined { cgroup, limits: *limits, killed_before: 0, shared: false })
    }

    /// The groups of commands whose agent has ended.
    pub fn left_over(&self) -> Vec<Cgroup> {
        self.found(name::is_left)
    }

    /// The groups of named namespaces, but for those of these names.
    pub fn named_but(&self, living: &[String]) -> Vec<Cgroup> {
        self.found(|name| name::is_named(name) && !living.iter().any(|other| other == name))
    }

    fn found(&self, wanted: impl Fn(&str) -> bool) -> Vec<Cgroup> {
        let found = fs::read_dir(self.mount.join(OURS)).into_iter().flatten().flatten();
        let wanted = |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(&wanted);
        found.filter(wanted).map(|entry| Cgroup { path: entry.path() }).collect()
    }
}

impl Cgroup {
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// For a command that joins it, and others may be in.
    pub fn shared(self, limits: &Limits) -> Confined {
        Confined { killed_before: self.oom_kills(), limits: *limits, shared: true, cgroup: self }
    }

    /// How many processes have been killed because the group was out of
    /// memory.
    fn oom_kills(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        events::value(&text, "oom_kill").unwrap_or(0)
    }

    /// Kills all that is in it, below it too.
    pub fn kill(&self) -> io::Result<()> {
        match setup::put(&self.path.join("cgroup.kill"), "1") {
            // Before Linux 5.14. What is frozen makes no new processes.
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.exists() => {
                setup::put(&self.path.join("cgroup.freeze"), "1")?;
                kill_each(&self.path)?;
                setup::put(&self.path.join("cgroup.freeze"), "0")
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Whether it is gone; false while processes are in it.
    pub fn remove(&self) -> io::Result<bool> {
        remove_tree(&self.path)
    }

    /// Waits until nothing is in it, and removes it.
    pub async fn remove_when_empty(&self) -> io::Result<()> {
        while !self.remove()? {
            events::until_empty(&self.path).await?;
        }
        Ok(())
    }
}

impl Confined {
    pub const fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The limit in bytes that made the kernel kill something since the
    /// command was started, if it has.
    pub fn out_of_memory(&self) -> Option<u64> {
        self.limits.memory.filter(|_| self.cgroup.oom_kills() > self.killed_before)
    }

    /// Removes the group once nothing is in it any more: what a command left
    /// behind keeps its limits.
    pub async fn clear_away(self) -> io::Result<()> {
        if self.shared {
            return Ok(());
        }
        self.cgroup.remove_when_empty().await
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        if !self.shared {
            // With something in it, it is left for the next agent.
            let _ = self.cgroup.remove();
        }
    }
}

fn kill_each(dir: &Path) -> io::Result<()> {
    for pid in fs::read_to_string(dir.join("cgroup.procs"))?.lines() {
        let _ = pid.parse().map(|pid| sys::signal_process(pid, crate::protocol::signal::KILL));
    }
    below(dir)?.try_for_each(|dir| kill_each(&dir))
}

fn remove_tree(dir: &Path) -> io::Result<bool> {
    match fs::remove_dir(dir) {
        Ok(()) => return Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(e) if e.kind() != io::ErrorKind::ResourceBusy => return Err(e),
        Err(_) => {}
    }
    // Either processes or groups that the command made.
    for group in below(dir)? {
        if !remove_tree(&group)? {
            return Ok(false);
        }
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => Ok(false),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(true),
    }
}

fn below(dir: &Path) -> io::Result<impl Iterator<Item = PathBuf>> {
    let found = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        found => Some(found?),
    };
    let entries = found.into_iter().flatten().flatten();
    Ok(entries.map(|entry| entry.path()).filter(|path| path.is_dir()))
}
