//! Namespaces as lsns(8) lists them: what the agent found in its /proc, and
//! the tables made of it. Pure; columns and order are those of util-linux 2.41.

mod columns;
mod filter;
mod json;
mod layout;
mod rows;
mod table;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use columns::Column;
pub use filter::{Filter, NoFilter};
pub use layout::{Art, Format, Style, render};
pub use rows::{Choice, NotFound, Row, Tree, rows};

use super::kind::Kind;

/// All that one user can see of a system's namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// In the order of /proc.
    pub processes: Vec<Process>,
    /// Each once.
    pub namespaces: Vec<Namespace>,
    /// Where namespaces are bound, from mountinfo.
    pub bound: Vec<Bound>,
}

/// A process and the namespaces of it that may be seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub ppid: u32,
    pub uid: u32,
    pub user: String,
    pub command: String,
    /// Their inode numbers.
    pub namespaces: Vec<u64>,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    pub kind: Kind,
    /// Its inode number.
    pub id: u64,
    /// 0: none that may be seen.
    pub parent: u64,
    pub owner: u64,
    /// What the network subsystem calls it; -1: nothing; none: not known.
    pub net_id: Option<i32>,
    /// Who made it.
    pub uid: u32,
    pub user: String,
    /// Known only as what a process's namespace belongs to.
    pub is_ghost: bool,
}

/// A file that a namespace is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// As mountinfo has it: `net:[4026531833]`.
    pub name: String,
    pub path: String,
}
