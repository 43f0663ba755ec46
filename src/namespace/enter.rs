//! Which namespaces of others a program enters: the options of nsenter(1),
//! typed.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf as Bytes;

use super::kind::{Kind, Kinds};

/// What is entered, and who the program is inside. Entering comes before
/// anything new is made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EnterSpec {
    /// The process whose namespaces are meant.
    pub target: Option<u32>,
    /// When it started, in ticks since the boot (`proc_pid_stat(5)`, field 22):
    /// its number may have become another's.
    pub target_started: Option<u64>,
    /// Every kind that can be entered.
    pub all: bool,
    /// Those of the target.
    pub kinds: Kinds,
    /// Those that a file names, in the order in which they were typed.
    pub files: Vec<KindFile>,
    /// The network namespace of this socket (descriptor) of the target.
    pub net_socket: Option<u32>,
    pub user_parent: bool,
    pub setuid: Option<Id>,
    pub setgid: Option<Id>,
    pub preserve_credentials: bool,
    pub keep_caps: bool,
    pub root: Option<Place>,
    pub wd: Option<Place>,
    /// A working directory by its name inside.
    pub wdns: Option<Bytes>,
    /// The target's environment instead of a clean one.
    pub env: bool,
    pub no_fork: bool,
    pub join_cgroup: bool,
    /// The program's start directory is one inside.
    pub start_inside: bool,
    /// The target's SELinux context.
    pub follow_context: bool,
}

/// A namespace and the file that stands for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindFile {
    pub kind: Kind,
    pub path: Bytes,
}

/// A user or group id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Id {
    Number(u32),
    /// The target's.
    Follow,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Where the target has it.
    Target,
    Path(Bytes),
}
