//! The options, as clap reads them.

use std::ffi::OsString;

use super::values::map_range;
use crate::cli::namespace::environment::EnvironmentArgs;
use crate::cli::namespace::identity::IdentityArgs;
use crate::cli::namespace::{UsageError, bytes};
use crate::namespace::enter::KindFile;
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::spec::MapRange;
use crate::protocol::request::Bytes;

/// Where the kernel offers to mount `binfmt_misc`.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Each option alone; what they mean together is the parent module's.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    about = "Run a program in new namespaces of the machine",
    long_about = "Run a program in new namespaces of the machine\n\n\
        Options and their meaning are those of unshare(1). Arguments arrive\n\
        unchanged: no shell evaluates them. Without a PROGRAM, the user's shell\n\
        is started.",
    after_help = "Example:\n  nsvm unshare --user --pid --map-root-user --mount-proc --fork bash",
    override_usage = "nsvm unshare [OPTIONS] [PROGRAM [ARG]...]",
    infer_long_args = true,
    args_override_self = true
)]
pub struct UnshareOptions {
    /// Unshare the mount namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub mount: Option<OsString>,
    /// Unshare the UTS namespace (hostname etc)
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub uts: Option<OsString>,
    /// Unshare the System V IPC namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub ipc: Option<OsString>,
    /// Unshare the network namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub net: Option<OsString>,
    /// Unshare the PID namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub pid: Option<OsString>,
    /// Unshare the user namespace
    #[arg(short = 'U', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub user: Option<OsString>,
    /// Unshare the cgroup namespace
    #[arg(short = 'C', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub cgroup: Option<OsString>,
    /// Unshare the time namespace
    #[arg(short = 'T', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub time: Option<OsString>,

    /// Fork before running PROGRAM
    #[arg(short, long)]
    pub fork: bool,
    /// When dying, kill the forked child with SIGKILL or this signal
    /// (implies --fork)
    #[arg(long, value_name = "SIGNAL", num_args = 0..=1, require_equals = true, default_missing_value = "KILL")]
    pub kill_child: Option<String>,
    /// Pass SIGTERM and SIGINT on to the forked child (implies --fork)
    #[arg(long)]
    pub forward_signals: bool,
    /// Mount proc first, on /proc or DIR (implies --mount)
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "/proc")]
    pub mount_proc: Option<OsString>,
    /// Mount binfmt_misc first, on /proc/sys/fs/binfmt_misc or DIR (implies
    /// --user and --mount)
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = BINFMT)]
    pub mount_binfmt: Option<OsString>,
    /// Register an interpreter, as binfmt_misc reads it (implies
    /// --mount-binfmt)
    #[arg(short = 'l', long, value_name = "LINE")]
    pub load_interp: Option<OsString>,
    /// Mount propagation: slave, shared, private or unchanged
    #[arg(long, value_name = "MODE")]
    pub propagation: Option<String>,
    /// Run with DIR as the root directory
    #[arg(short = 'R', long, value_name = "DIR")]
    pub root: Option<OsString>,
    /// Change the working directory to DIR
    #[arg(short, long, value_name = "DIR")]
    pub wd: Option<OsString>,

    /// Map the current user to UID (implies --user)
    #[arg(long, value_name = "UID|NAME")]
    pub map_user: Option<String>,
    /// Map the current group to GID (implies --user)
    #[arg(long, value_name = "GID|NAME")]
    pub map_group: Option<String>,
    /// Map the current user to root (implies --user)
    #[arg(short = 'r', long)]
    pub map_root_user: bool,
    /// Map the current user to itself (implies --user)
    #[arg(short = 'c', long)]
    pub map_current_user: bool,
    /// Map subordinate users and groups automatically (implies --user)
    #[arg(long)]
    pub map_auto: bool,
    /// Map subordinate users and groups to themselves (implies --user)
    #[arg(long)]
    pub map_subids: bool,
    /// Map users: auto, subids, all or INNER:OUTER:COUNT (repeatable)
    #[arg(long, value_name = "RANGE", action = clap::ArgAction::Append)]
    pub map_users: Vec<String>,
    /// Map groups: auto, subids, all or INNER:OUTER:COUNT (repeatable)
    #[arg(long, value_name = "RANGE", action = clap::ArgAction::Append)]
    pub map_groups: Vec<String>,
    /// Who owns the user namespace, by numbers outside (implies --user)
    #[arg(long, value_name = "UID:GID")]
    pub owner: Option<String>,
    /// Whether setgroups(2) is allowed in the user namespace: allow or deny
    #[arg(long, value_name = "allow|deny")]
    pub setgroups: Option<String>,

    /// Set the user id in the namespace
    #[arg(short = 'S', long, value_name = "UID")]
    pub setuid: Option<String>,
    /// Set the group id in the namespace
    #[arg(short = 'G', long, value_name = "GID")]
    pub setgid: Option<String>,
    /// Keep the capabilities granted in the user namespace
    #[arg(long)]
    pub keep_caps: bool,
    /// Offset of the monotonic clock in the time namespace
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub monotonic: Option<String>,
    /// Offset of the boot time clock in the time namespace
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub boottime: Option<String>,

    /// Say step by step what would happen, and run nothing
    #[arg(long, help_heading = "Machine")]
    pub explain: bool,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub environment: EnvironmentArgs,

    /// The program and its arguments [default: the user's shell]
    #[arg(value_name = "PROGRAM", trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

impl UnshareOptions {
    /// The kinds, those included that other options imply.
    pub fn kinds(&self) -> Kinds {
        let mut kinds: Kinds = self.asked().map(|(kind, _)| kind).collect();
        let binfmt = self.mount_binfmt.is_some() || self.load_interp.is_some();
        if self.mount_proc.is_some() || binfmt {
            kinds.insert(Kind::Mount);
        }
        if self.maps_ids() || self.owner.is_some() || binfmt {
            kinds.insert(Kind::User);
        }
        kinds
    }

    /// The files that shall keep namespaces.
    pub fn persist(&self) -> Vec<KindFile> {
        let file = |(kind, path): (Kind, &OsString)| KindFile { kind, path: bytes(path) };
        self.asked().filter(|(_, path)| !path.is_empty()).map(file).collect()
    }

    fn asked(&self) -> impl Iterator<Item = (Kind, &OsString)> {
        let all = [
            (Kind::Mount, &self.mount),
            (Kind::Uts, &self.uts),
            (Kind::Ipc, &self.ipc),
            (Kind::Net, &self.net),
            (Kind::Pid, &self.pid),
            (Kind::User, &self.user),
            (Kind::Cgroup, &self.cgroup),
            (Kind::Time, &self.time),
        ];
        all.into_iter().filter_map(|(kind, file)| Some((kind, file.as_ref()?)))
    }

    /// Where proc is mounted: binfmt_misc at its own place needs it.
    pub fn proc_dir(&self) -> Option<Bytes> {
        let own = self.mount_binfmt.as_ref().is_some_and(|dir| dir != BINFMT);
        let needed = !own && self.binfmt_dir().is_some();
        let implied = needed.then(|| Bytes::from(b"/proc".to_vec()));
        self.mount_proc.as_deref().map(bytes).or(implied)
    }

    pub fn binfmt_dir(&self) -> Option<Bytes> {
        let implied = self.load_interp.as_ref().map(|_| Bytes::from(BINFMT.as_bytes().to_vec()));
        self.mount_binfmt.as_deref().map(bytes).or(implied)
    }

    const fn maps_ids(&self) -> bool {
        self.map_user.is_some()
            || self.map_group.is_some()
            || self.map_root_user
            || self.map_current_user
            || self.map_auto
            || self.map_subids
            || !self.map_users.is_empty()
            || !self.map_groups.is_empty()
    }

    /// The blocks of one of the two range options.
    pub fn ranges(&self, texts: &[String]) -> Result<Vec<MapRange>, UsageError> {
        let mut all = texts.iter().map(|text| map_range(text)).collect::<Result<Vec<_>, _>>()?;
        all.extend(self.map_auto.then_some(MapRange::Auto));
        all.extend(self.map_subids.then_some(MapRange::Subids));
        Ok(all)
    }
}
