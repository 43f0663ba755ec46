//! The verbs about the guest's namespaces: arguments in, requests out, and
//! outcomes as exit codes.

pub mod environment;
pub mod exec;
pub mod identity;
pub mod kinds;
pub mod lsns;
pub mod ns;
pub mod nsenter;
pub mod rootfs;
pub mod run;
mod tty;
pub mod unshare;
pub mod usage;

use std::ffi::OsString;
use std::io;
use std::path::Path;

pub use exec::ExecArgs;
pub use kinds::NamespacesArgs;
pub use lsns::LsnsArgs;
pub use nsenter::NsenterArgs;
pub use run::RunArgs;
pub use unshare::UnshareArgs;
pub use usage::UsageError;

use crate::app::terminal::{self, NoTerminal, TtyChoice};
pub use crate::options::{bytes, verdict};
use crate::protocol::request::Terminal;

/// What resolving arguments may ask of this host; tests bring their own.
pub struct Host<'a> {
    /// A variable of our environment.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// The content of a file named on the command line.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// The terminal to ask for, if any.
    pub terminal: &'a dyn Fn(TtyChoice) -> Result<Option<Terminal>, NoTerminal>,
}

impl Host<'static> {
    /// This process's environment, files and terminal.
    pub fn real() -> Self {
        Self {
            env: &|name| std::env::var_os(name),
            read: &|path| std::fs::read(path),
            terminal: &terminal::wanted,
        }
    }
}
