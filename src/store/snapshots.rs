//! The files of snapshots, beside the disk's layers: `snapshot-NAME.json`, which
//! makes one exist, and `snapshot-NAME.ram` where the guest's memory was kept.

use std::fs;
use std::io;
use std::path::Path;

use super::{Store, StoreError, io_error};
use crate::fs::{Access, sweep, sync_dir, write_atomic};
use crate::machine::name::MachineName;
use crate::machine::snapshot::{Snapshot, SnapshotName, VERSION};

impl Store {
    /// The machine's snapshots, by name, and what could not be read.
    pub fn snapshots(
        &self,
        name: &MachineName,
    ) -> Result<(Vec<Snapshot>, Vec<StoreError>), StoreError> {
        let dir = self.paths(name).data_dir();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((vec![], vec![])),
            Err(e) => return Err(io_error("reading the directory", &dir)(e)),
        };
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| is_snapshot(path)) {
            match read(&path) {
                Ok(snapshot) => good.push(snapshot),
                Err(e) => bad.push(e),
            }
        }
        good.sort_by(|a: &Snapshot, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        Ok((good, bad))
    }

    pub fn snapshot(
        &self,
        name: &MachineName,
        snapshot: &SnapshotName,
    ) -> Result<Option<Snapshot>, StoreError> {
        let path = self.paths(name).snapshot(snapshot);
        match read(&path) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// Makes the snapshot exist. Its layer is there already; the memory that is
    /// the machine's now becomes its own, too.
    pub fn save_snapshot(&self, name: &MachineName, snapshot: &Snapshot) -> Result<(), StoreError> {
        let paths = self.paths(name);
        let (path, memory) =
            (paths.snapshot(&snapshot.name), paths.snapshot_memory(&snapshot.name));
        replace_by_link(snapshot.memory.is_some().then(|| paths.memory()).as_deref(), &memory)?;
        let bytes = serde_json::to_vec_pretty(snapshot).expect("plain fields serialize");
        write_atomic(&path, &bytes, Access::Owner).map_err(io_error("writing", &path))
    }

    /// Makes it exist no longer; its layer is the caller's affair.
    pub fn remove_snapshot(
        &self,
        name: &MachineName,
        snapshot: &SnapshotName,
    ) -> Result<(), StoreError> {
        let paths = self.paths(name);
        remove_if_there(&paths.snapshot(snapshot))?;
        // Without that no layer of it may go.
        let dir = paths.data_dir();
        sync_dir(&dir).map_err(io_error("writing", &dir))?;
        remove_if_there(&paths.snapshot_memory(snapshot))
    }

    /// Removes memories that belong to none of the snapshots, and files that
    /// were about to be something: of commands that were killed. For whoever
    /// holds the machine's lock.
    pub fn sweep_snapshots(
        &self,
        name: &MachineName,
        snapshots: &[Snapshot],
    ) -> Result<(), StoreError> {
        let paths = self.paths(name);
        let dir = paths.data_dir();
        let entries = fs::read_dir(&dir).map_err(io_error("reading the directory", &dir))?;
        let known: Vec<_> = snapshots.iter().map(|one| paths.snapshot_memory(&one.name)).collect();
        for path in entries.flatten().map(|entry| entry.path()) {
            let is_memory = path.extension().is_some_and(|suffix| suffix == "ram")
                && begins_like_one(&path)
                && !known.contains(&path);
            if is_memory || path.extension().is_some_and(|suffix| suffix == "merged") {
                remove_if_there(&path)?;
            }
        }
        for snapshot in snapshots {
            sweep(&paths.snapshot(&snapshot.name));
        }
        Ok(())
    }

    /// Lays a snapshot's memory ready to be the machine's: it counts once a
    /// header says so.
    pub fn lay_memory(
        &self,
        name: &MachineName,
        snapshot: &SnapshotName,
    ) -> Result<(), StoreError> {
        let paths = self.paths(name);
        replace_by_link(Some(&paths.snapshot_memory(snapshot)), &paths.memory())
    }
}

fn is_snapshot(path: &Path) -> bool {
    begins_like_one(path) && path.extension().is_some_and(|suffix| suffix == "json")
}

fn begins_like_one(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("snapshot-"))
}

fn read(path: &Path) -> Result<Snapshot, StoreError> {
    let bytes = fs::read(path).map_err(io_error("reading", path))?;
    let unreadable = |reason: String| StoreError::Unreadable { path: path.to_owned(), reason };
    let snapshot: Snapshot =
        serde_json::from_slice(&bytes).map_err(|e| unreadable(e.to_string()))?;
    if snapshot.version != VERSION {
        let text = format!("it has the form {}, this nsvm reads {VERSION}", snapshot.version);
        return Err(unreadable(text));
    }
    Ok(snapshot)
}

/// A second name for a file that is never written again; `None`: only what was
/// there before goes.
fn replace_by_link(from: Option<&Path>, to: &Path) -> Result<(), StoreError> {
    remove_if_there(to)?;
    from.map_or(Ok(()), |from| fs::hard_link(from, to)).map_err(io_error("linking", to))
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    crate::fs::remove_if_there(path).map_err(io_error("removing", path))
}
