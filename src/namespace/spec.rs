//! What is asked for: the options of unshare(1), typed.
//!
//! Names of users are resolved in the guest, so they travel as text.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf as Bytes;

use super::enter::KindFile;
use super::kind::{Kind, Kinds};
use super::network::Network;

/// Which namespaces a program gets and how they are set up. The default is
/// none at all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceSpec {
    pub kinds: Kinds,
    /// What a new network namespace is given.
    pub network: Network,
    /// Files that shall keep new namespaces alive; of equal kinds the last.
    pub persist: Vec<KindFile>,
    pub fork: bool,
    /// The signal (Linux number) the forked child gets when its parent dies.
    pub kill_child: Option<u8>,
    /// The parent passes SIGTERM and SIGINT on to the forked child.
    pub forward_signals: bool,
    /// Who owns the new user namespace: user and group id outside.
    pub owner: Option<(u32, u32)>,
    pub map_user: Option<MapTarget>,
    pub map_group: Option<MapTarget>,
    pub map_users: Vec<MapRange>,
    pub map_groups: Vec<MapRange>,
    pub setgroups: Option<SetGroups>,
    /// None: private, the default of unshare(1).
    pub propagation: Option<Propagation>,
    pub mount_proc: Option<Bytes>,
    pub mount_binfmt: Option<Bytes>,
    /// A line for `binfmt_misc`'s `register`, with its mount point
    /// in `mount_binfmt`.
    pub load_interp: Option<Bytes>,
    pub root: Option<Bytes>,
    pub wd: Option<Bytes>,
    /// Of the new UTS namespace.
    pub hostname: Option<String>,
    pub setuid: Option<u32>,
    pub setgid: Option<u32>,
    pub keep_caps: bool,
    /// Seconds.
    pub monotonic: Option<i64>,
    /// Seconds.
    pub boottime: Option<i64>,
}

/// What the caller's own id becomes inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapTarget {
    /// The same number as outside.
    Current,
    Id(u32),
    /// A name from the guest's user or group file.
    Name(String),
}

/// A block of ids that is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapRange {
    /// The caller's first subordinate ids, inside from 0 on.
    Auto,
    /// The caller's first subordinate ids, inside the same as outside.
    Subids,
    /// Every id the caller's own namespace has, unchanged.
    All,
    Range {
        inner: u32,
        outer: u32,
        count: u32,
    },
}

/// `--setgroups`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetGroups {
    Allow,
    Deny,
}

/// `--propagation`, applied to everything below `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    Slave,
    Private,
    Shared,
    Unchanged,
}

impl NamespaceSpec {
    pub fn wants(&self, kind: Kind) -> bool {
        self.kinds.contains(kind)
    }

    /// The files that shall keep namespaces alive, one a kind.
    pub fn binds(&self) -> Vec<KindFile> {
        let last = |kind: &Kind| self.persist.iter().rev().find(|file| file.kind == *kind);
        BIND_ORDER.iter().filter_map(last).cloned().collect()
    }
}

/// The order in which unshare(1) binds them.
const BIND_ORDER: [Kind; 8] =
    [Kind::User, Kind::Cgroup, Kind::Ipc, Kind::Uts, Kind::Net, Kind::Pid, Kind::Mount, Kind::Time];
