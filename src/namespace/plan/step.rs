//! The steps a plan is made of, as values: they also travel to the host, which
//! explains them.

use serde::{Deserialize, Serialize};

use crate::namespace::enter::{Id, KindFile};
use crate::namespace::idmap::IdRange;
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::limits::Limits;
use crate::namespace::spec::{Propagation, SetGroups};

/// One thing the new process does. Paths are bytes of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Join the control group that has these limits.
    Confine(Limits),
    BecomeUser(Credentials),
    /// The directory to start in.
    EnterDirectory(StartDirectory),
    /// Of a process, whether its namespaces may be looked at.
    CheckTarget(u32),
    /// Keep a file open under this handle, for a later step.
    Open(Handle, Vec<u8>),
    /// Take the SELinux context of this process at the exec.
    FollowContext(u32),
    /// Keep hold of a process, so that its namespaces can be joined.
    HoldTarget {
        pid: u32,
        kinds: Kinds,
    },
    /// Check that the process that is held is the one that started then
    /// (`proc_pid_stat(5)`, field 22).
    CheckStarted {
        pid: u32,
        started: u64,
    },
    /// Open the process list of this process's cgroup.
    OpenCgroup(u32),
    /// Open the user namespace that owns the open one of this kind.
    OpenParentUser(Kind),
    /// Open the network namespace of a socket of a process.
    OpenSocketNamespace {
        pid: u32,
        socket: u32,
    },
    /// Drop the supplementary groups, if that is allowed here.
    TryDropGroups,
    /// Join what can be joined now: a process that loses privilege in its
    /// new user namespace has to join the others before.
    TryJoin(Kinds),
    /// Join the rest.
    Join(Kinds),
    /// To come back to it after the root directory has changed.
    RememberDirectory,
    /// Make the open root directory the root.
    EnterRoot,
    /// Open a working directory by its name in the new root.
    OpenDirectoryInside(Vec<u8>),
    ReturnToDirectory,
    TakeEnvironment,
    MoveToCgroup,
    /// Start a process outside that will connect the new network namespace.
    StartConnector,
    /// Start a process outside that will bind files to namespaces.
    StartBinder(Vec<KindFile>),
    /// Start a process outside that will write maps larger than one id.
    StartIdMapper(IdMaps),
    Unshare(Kinds),
    /// Let that process write the maps, and wait for it.
    FinishIdMapper,
    /// Let that process make the connection, and wait for it.
    FinishConnector,
    LoopbackUp,
    /// Let that process bind the files, and wait for it.
    FinishBinder,
    /// Bind files to the namespaces of this process.
    Bind(Vec<KindFile>),
    ClockOffset(Clock, i64),
    /// Go on in a child; the parent stays behind and passes on its end.
    Fork(Parent),
    MapUser(IdRange),
    MapGroup(IdRange),
    ControlSetgroups(SetGroups),
    /// Of the UTS namespace.
    SetHostname(String),
    /// Of every mount below `/`.
    Propagate(Propagation),
    /// Show a file in the place of another, if that is there.
    ShowNameServers {
        of: Vec<u8>,
        at: Vec<u8>,
    },
    ChangeRoot(Vec<u8>),
    ChangeDirectory(Vec<u8>),
    MountProc {
        dir: Vec<u8>,
        /// Whether the mount that is there may be shared with the outside.
        make_private: bool,
    },
    /// Mount `binfmt_misc`.
    MountBinfmt(Vec<u8>),
    /// Register an interpreter with the `binfmt_misc` mounted there.
    LoadInterpreter {
        dir: Vec<u8>,
        line: Vec<u8>,
    },
    /// Drop the supplementary groups and set the group id.
    SetGroup(u32),
    SetUser(u32),
    /// The group first, without supplementary groups, then the user.
    TakeIdentity {
        uid: Option<Id>,
        gid: Option<Id>,
    },
    /// Become the owner that a new user namespace shall have.
    BecomeOwner {
        uid: u32,
        gid: u32,
    },
    KeepCapabilities,
    /// Instead of an exec: stay, so that the namespaces do.
    Hold,
    /// Lock a directory until the program ends, or fail.
    Lock(Vec<u8>),
    /// The same, with others.
    LockShared(Vec<u8>),
    /// Have a user namespace made that this user owns, and keep it open.
    MakeUserNamespace {
        owner: Credentials,
        maps: IdMaps,
    },
    /// Mount an empty file system to put the program's root together in.
    Stage,
    AddLayer(Layer),
    MountFresh(Fresh),
    /// The devices every program expects below `/dev`.
    MakeDevices,
    /// Terminals of its own; they belong to this group.
    MountTerminals {
        group: u32,
    },
    /// Show the program's own terminal as `/dev/console`.
    ShowTerminal,
    ProvideNameServers(NameServers),
    RootReadOnly,
    EnterUserNamespace,
    RaiseLoopback,
    /// Make the staged root one that can become the root.
    TakeStage,
    MountSystem(System),
    Hide(Vec<Vec<u8>>),
    MakeReadOnly(Vec<Vec<u8>>),
    /// The staged root becomes the root, and the old one is out of reach.
    PivotRoot,
    /// To those that container engines leave to root.
    LimitCapabilities,
    NoNewPrivileges,
    Exec,
}

/// Files of the guest below the program's root, with its changes on top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// A directory of the guest.
    pub lower: Vec<u8>,
    /// Where it is inside.
    pub at: Vec<u8>,
    pub changes: Changes,
    /// Whether owners are shown as the user namespace maps them.
    pub mapped: bool,
}

/// Where what the program changes goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Changes {
    /// Into memory, which goes with the program.
    Forgotten,
    /// Into this directory of the guest.
    Kept(Vec<u8>),
}

/// A copy of a file of the guest that becomes `/etc/resolv.conf` inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameServers {
    /// A guest may have none, and so has the program then.
    pub of: Vec<u8>,
    /// User and group outside.
    pub owner: (u32, u32),
    pub read_only: bool,
}

/// An empty file system in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fresh {
    pub at: Vec<u8>,
    pub mode: u32,
    /// User and group outside.
    pub owner: (u32, u32),
}

/// A file system of the kernel's, about the namespaces it is mounted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum System {
    Proc,
    Sysfs,
    /// The guest's: a new one would take a network namespace.
    HostSysfs,
    /// Read-only; left out where the guest has no cgroup v2.
    Cgroup,
    Mqueue,
}

/// What the process does that stays behind at a fork.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Parent {
    /// What the child gets when the parent dies.
    pub kill_child: Option<u8>,
    /// Whether it passes SIGTERM and SIGINT on.
    pub forward_signals: bool,
    /// Whether it ends at once, without waiting for the child.
    #[serde(default)]
    pub leaves: bool,
    pub binds: Binds,
}

/// Who binds files to namespaces once the child exists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Binds {
    #[default]
    None,
    /// The process that [`Step::StartBinder`] has started.
    ByBinder,
    /// The parent itself.
    Itself(Vec<KindFile>),
}

/// Something that a step keeps open for a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handle {
    Namespace(Kind),
    Root,
    Directory,
    Environment,
    /// A process's directory in /proc, which its user and group own.
    Process,
}

/// Who a process is to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// Where the program starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartDirectory {
    /// Where the agent is: it was started there for this request.
    Present,
    /// The user's home, or `/` where that cannot be entered, as login does.
    Home(Vec<u8>),
    /// Where the caller is on its own host, if that can be entered here, or
    /// else as in `Home`.
    Caller { dir: Vec<u8>, home: Vec<u8> },
    /// What was asked for, or nothing.
    Asked(Vec<u8>),
}

/// Maps that another process has to write.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IdMaps {
    pub users: Vec<IdRange>,
    pub groups: Vec<IdRange>,
}

/// A clock with an offset (`time_namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clock {
    Monotonic,
    Boottime,
}
