//! The options, as clap reads them.

use std::ffi::OsString;

use crate::cli::namespace::environment::EnvironmentArgs;
use crate::cli::namespace::identity::IdentityArgs;

/// Each option alone; what they mean together is the parent module's. An
/// empty file or directory is the target's own.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    about = "Run a program in namespaces of the machine's processes",
    long_about = "Run a program in namespaces of the machine's processes\n\n\
        Options and their meaning are those of nsenter(1); processes and files\n\
        are the machine's. Arguments arrive unchanged: no shell evaluates them.\n\
        Without a PROGRAM, the user's shell is started.",
    after_help = "Example:\n  nsvm nsenter --user-name root --target 1 --all ps -ef",
    override_usage = "nsvm nsenter [OPTIONS] [PROGRAM [ARG]...]",
    infer_long_args = true,
    args_override_self = true
)]
pub struct NsenterArgs {
    /// Enter all namespaces of the target
    #[arg(short, long)]
    pub all: bool,
    /// The process whose namespaces are entered
    #[arg(short, long, value_name = "PID", allow_hyphen_values = true)]
    pub target: Option<String>,
    /// Enter the mount namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub mount: Option<OsString>,
    /// Enter the UTS namespace (hostname etc)
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub uts: Option<OsString>,
    /// Enter the System V IPC namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub ipc: Option<OsString>,
    /// Enter the network namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub net: Option<OsString>,
    /// Enter the network namespace of a socket of the target
    #[arg(short = 'N', long, value_name = "FD", allow_hyphen_values = true)]
    pub net_socket: Option<String>,
    /// Enter the PID namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub pid: Option<OsString>,
    /// Enter the cgroup namespace
    #[arg(short = 'C', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub cgroup: Option<OsString>,
    /// Enter the user namespace
    #[arg(short = 'U', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub user: Option<OsString>,
    /// Enter the parent of the user namespace
    #[arg(long)]
    pub user_parent: bool,
    /// Enter the time namespace
    #[arg(short = 'T', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub time: Option<OsString>,

    /// Set the user id inside, or take the target's
    #[arg(short = 'S', long, value_name = "UID|follow", allow_hyphen_values = true)]
    pub setuid: Option<String>,
    /// Set the group id inside, or take the target's
    #[arg(short = 'G', long, value_name = "GID|follow", allow_hyphen_values = true)]
    pub setgid: Option<String>,
    /// Leave user and group ids alone
    #[arg(long)]
    pub preserve_credentials: bool,
    /// Keep the capabilities granted in the user namespace
    #[arg(long)]
    pub keep_caps: bool,
    /// Set the root directory to the target's, or to DIR
    #[arg(short, long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub root: Option<OsString>,
    /// Change the working directory to the target's, or to DIR
    #[arg(short, long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub wd: Option<OsString>,
    /// Change the working directory to DIR inside
    #[arg(short = 'W', long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub wdns: Option<OsString>,
    /// Take the target's environment variables
    #[arg(short, long)]
    pub env: bool,
    /// Do not fork before running PROGRAM
    #[arg(short = 'F', long)]
    pub no_fork: bool,
    /// Join the cgroup of the target
    #[arg(short = 'c', long)]
    pub join_cgroup: bool,
    /// Take the SELinux context of the target
    #[arg(short = 'Z', long)]
    pub follow_context: bool,

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
