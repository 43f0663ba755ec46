//! A file that a user has named for what a command writes: there as a whole or
//! not at all, and for its owner alone from the start.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::NamedTempFile;

use super::Refusal;
use crate::host;

/// Not there under its name yet. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    /// Readable by its owner alone (crate tempfile).
    part: NamedTempFile,
}

impl NewFile {
    /// Refuses a name that is taken, and a directory that cannot be written to.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        if path.symlink_metadata().is_ok() {
            let text = format!("\"{}\" exists already", path.display());
            return Err(Refusal::new(text).hint("Name a file that does not exist yet").into());
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new("."));
        let refused =
            |why: String| Refusal::new(format!("cannot write \"{}\": {why}", path.display()));
        if !dir.is_dir() {
            let why = format!("there is no directory \"{}\"", dir.display());
            return Err(refused(why).hint("Make it, or name a file in another directory").into());
        }
        // Of the error the kind alone: the rest names the temporary file.
        let part = NamedTempFile::new_in(dir).map_err(|e| {
            refused(e.kind().to_string()).hint("Name a file in a directory that you may write to")
        })?;
        Ok(Self { path: path.to_owned(), part })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What to write to.
    pub fn file(&self) -> &File {
        self.part.as_file()
    }

    /// Gives it its name, unless somebody has made a file of that name meanwhile.
    pub fn keep(self) -> anyhow::Result<()> {
        let Self { path, part } = self;
        let keep = || -> io::Result<()> {
            part.as_file().sync_all()?;
            part.persist_noclobber(&path).map_err(|e| e.error)?;
            host::restrict_to_owner(&path)
        };
        keep().with_context(|| format!("writing \"{}\"", path.display()))
    }
}
