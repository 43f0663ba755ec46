//! What the agent answers last.

use serde::{Deserialize, Serialize};

use crate::namespace::plan::Step;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It exited with this code.
    Exited(u8),
    /// A signal (Linux number) ended it.
    Signaled { signal: u8, core: bool },
    /// It never ran.
    NotStarted(Failure),
    /// The kernel killed it, or a process of it, because its limit of memory
    /// in bytes was reached; then the program ended like that.
    OutOfMemory { limit: u64, then: Box<Outcome> },
}

/// What went wrong before the program ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub step: FailedStep,
    /// Linux errno; 0 when no system call failed.
    pub errno: i32,
    /// For people, the errno's text included, as util-linux words it after
    /// `unshare: `.
    pub message: String,
}

/// Which part of a launch failed: what the exit code depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailedStep {
    /// The agent could not read the request.
    Request,
    /// The user does not exist, or could not be become.
    User,
    /// The working directory that was asked for.
    WorkingDirectory,
    /// The agent lacks processes, memory, descriptors or terminals.
    Launch,
    /// unshare, id maps, fork, mounts, root, ids.
    Namespaces,
    /// The program itself could not be executed.
    Exec,
    /// Control groups.
    Limits,
    /// What a new network namespace is given.
    Network,
}

/// What the agent says about its guest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Info {
    /// The agent's package version.
    pub version: String,
    pub boot_id: String,
    /// Kernel release, as `uname -r` prints it.
    pub kernel: String,
    /// Long option names of the namespace kinds that this kernel has.
    pub namespaces: Vec<String>,
    /// How many of a kind each user may have, from `/proc/sys/user`.
    #[serde(default)]
    pub limits: Vec<(String, u64)>,
}

/// What the agent would do for a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// What the last step runs, for people.
    pub program: String,
}
