//! What can be wrong with a machine's files, and the way out.

use std::io;
use std::path::{Path, PathBuf};

use crate::machine::config::VERSION;
use crate::machine::name::MachineName;

/// Why a machine cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{name}: VM does not exist")]
    Missing {
        name: MachineName,
        /// What may have been meant.
        nearest: Option<MachineName>,
    },
    #[error("machine \"{0}\" already exists")]
    Exists(MachineName),
    #[error("the machine file \"{path}\" cannot be read: {reason}")]
    Unreadable { path: PathBuf, reason: String },
    #[error(
        "the machine file \"{path}\" has schema version {found}; this nsvm reads up to {VERSION}"
    )]
    TooNew { path: PathBuf, found: u64 },
    #[error("another nsvm command is changing machine \"{0}\"")]
    Busy(MachineName),
    #[error("{doing} \"{path}\": {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl StoreError {
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { nearest: Some(nearest), name } => {
                format!("Did you mean \"{nearest}\"? Otherwise {}", creation(name))
            }
            Self::Missing { name, .. } => format!("C{}", &creation(name)[1..]),
            Self::Exists(name) => {
                format!("Choose another name, or delete it with `nsvm machine rm {name}`")
            }
            Self::Unreadable { path, .. } => {
                format!("Mend or move away \"{}\"", path.display())
            }
            Self::TooNew { .. } => "Use the newer nsvm that wrote it".into(),
            Self::Busy(_) => "Try again when it has ended".into(),
            Self::Io { source, path, .. } => return io_hint(source, path),
        })
    }
}

fn creation(name: &MachineName) -> String {
    let named = if *name == MachineName::default() { String::new() } else { format!(" {name}") };
    format!("create it with `nsvm machine init --now{named}`")
}

/// The way out of the common failures of a file system.
fn io_hint(error: &io::Error, path: &Path) -> Option<String> {
    let dir = path.parent().unwrap_or(path).display();
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some(format!("Make \"{dir}\" writable, or set NSVM_HOME to a directory that is"))
        }
        io::ErrorKind::StorageFull => {
            Some(format!("Free some space on the file system of \"{dir}\""))
        }
        _ => None,
    }
}

/// Turns an I/O error into one that names the file and what was tried.
pub fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path, source }
}
