//! The files of a suspended machine. One rule makes them safe: the header is
//! there only while the guest has not run since its memory was written.
//!
//! ```text
//! memory -> suspended.ram.new -> fsync -> suspended.ram -> header (atomically)
//! header -> suspended.used -> fsync of the directory -> the guest runs
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::{Store, StoreError, io_error, records};
use crate::fs::{Access, sync_dir, write_atomic};
use crate::host;
use crate::machine::name::MachineName;
use crate::machine::suspended::{DiskGeneration, Reason, Suspended};

/// What is there of a suspended machine.
#[derive(Debug)]
pub enum Suspension {
    None,
    /// There is a header, but it cannot be read: why.
    Damaged(String),
    Whole(Box<Suspended>),
}

impl Store {
    /// Whether the guest waits in a file.
    pub fn is_suspended(&self, name: &MachineName) -> bool {
        self.paths(name).suspended().exists()
    }

    /// Why the guest waits in a file; `None`: it does not, or nobody can tell.
    pub fn suspend_reason(&self, name: &MachineName) -> Option<Reason> {
        match self.suspension(name) {
            Suspension::Whole(header) => Some(header.reason),
            Suspension::None | Suspension::Damaged(_) => None,
        }
    }

    pub fn suspension(&self, name: &MachineName) -> Suspension {
        match fs::read(self.paths(name).suspended()) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(header) => Suspension::Whole(Box::new(header)),
                Err(e) => Suspension::Damaged(e.to_string()),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Suspension::None,
            Err(e) => Suspension::Damaged(e.to_string()),
        }
    }

    /// A file for the guest's memory that only its owner may read: there are
    /// keys and passwords in it.
    pub fn begin_suspension(&self, name: &MachineName) -> Result<File, StoreError> {
        let path = self.paths(name).memory_in_progress();
        let create = || {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
            host::restrict_to_owner(&path)?;
            Ok(file)
        };
        create().map_err(io_error("creating", &path))
    }

    /// Makes the memory that was written to `file` the machine's, for good:
    /// from now on it is suspended.
    pub fn commit_suspension(
        &self,
        name: &MachineName,
        file: &File,
        header: &Suspended,
    ) -> Result<(), StoreError> {
        let paths = self.paths(name);
        let (new, memory) = (paths.memory_in_progress(), paths.memory());
        file.sync_all().map_err(io_error("writing", &new))?;
        fs::rename(&new, &memory).map_err(io_error("renaming", &new))?;
        self.write_header(name, header)
    }

    /// Says that the memory that is there fits, and what.
    pub fn write_header(&self, name: &MachineName, header: &Suspended) -> Result<(), StoreError> {
        let path = self.paths(name).suspended();
        let bytes = serde_json::to_vec_pretty(header).expect("plain fields serialize");
        write_atomic(&path, &bytes, Access::Owner).map_err(io_error("writing", &path))
    }

    /// Makes the state unusable, for good: after this the guest may run. Fast,
    /// because the memory itself is left for [`Store::clear_suspension`].
    pub fn invalidate_suspension(&self, name: &MachineName) -> Result<(), StoreError> {
        let paths = self.paths(name);
        let (suspended, used) = (paths.suspended(), paths.suspended_used());
        match fs::rename(&suspended, &used) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(io_error("renaming", &suspended))?,
        }
        sync_dir(&paths.data_dir()).map_err(io_error("writing", &paths.data_dir()))
    }

    /// Removes what is left of a suspension that is over.
    pub fn clear_suspension(&self, name: &MachineName) -> Result<(), StoreError> {
        let paths = self.paths(name);
        for path in [paths.memory_in_progress(), paths.memory(), paths.suspended_used()] {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("removing", &path)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The state is given up: the next start boots.
    pub fn discard_suspension(&self, name: &MachineName) -> Result<(), StoreError> {
        self.invalidate_suspension(name)?;
        self.clear_suspension(name)
    }

    /// The present state of the machine's disk.
    pub fn disk_generation(&self, name: &MachineName) -> Result<DiskGeneration, StoreError> {
        self.generation_of(name, &self.paths(name).overlay())
    }

    /// The state that the machine's disk has when `path` has taken its place.
    pub fn generation_of(
        &self,
        name: &MachineName,
        path: &Path,
    ) -> Result<DiskGeneration, StoreError> {
        let found = fs::metadata(path).map_err(io_error("looking at", path))?;
        let modified = found.modified().map_err(io_error("looking at", path))?;
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(DiskGeneration {
            runs: self.history(name).runs,
            length: found.len(),
            modified: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
        })
    }

    /// Before a guest runs: any memory of earlier ones no longer fits its disk.
    pub fn count_run(&self, name: &MachineName) -> Result<(), StoreError> {
        let mut history = self.history(name);
        history.runs = history.runs.wrapping_add(1);
        records::write(&self.paths(name).history(), &history)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::machine::paths::Dirs;
    use crate::machine::suspended::{Hardware, Memory, VERSION};
    use std::io::Write;

    fn machine() -> (tempfile::TempDir, Store, MachineName) {
        let home = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(home.path(), home.path().join("cache"), home.path().join("run"));
        let (store, name) = (Store::new(dirs), "a".parse().unwrap());
        fs::create_dir_all(store.paths(&name).data_dir()).unwrap();
        fs::write(store.paths(&name).overlay(), b"disk").unwrap();
        (home, store, name)
    }

    fn header(store: &Store, name: &MachineName) -> Suspended {
        Suspended {
            version: VERSION,
            at: Timestamp::UNIX_EPOCH,
            boot_id: None,
            reason: Reason::Asked,
            hardware: Hardware::example(),
            disk: store.disk_generation(name).unwrap(),
            next_disk: None,
            memory: Memory { length: 3 },
        }
    }

    fn suspend(store: &Store, name: &MachineName) -> Suspended {
        let mut file = store.begin_suspension(name).unwrap();
        assert!(!store.is_suspended(name), "not before it is whole");
        file.write_all(b"RAM").unwrap();
        let header = header(store, name);
        store.commit_suspension(name, &file, &header).unwrap();
        header
    }

    #[test]
    fn a_state_is_there_until_it_is_used_and_never_again() {
        let (_home, store, name) = machine();
        let header = suspend(&store, &name);
        assert!(matches!(store.suspension(&name), Suspension::Whole(h) if *h == header));
        assert_eq!(fs::read(store.paths(&name).memory()).unwrap(), b"RAM");
        store.invalidate_suspension(&name).unwrap();
        assert!(matches!(store.suspension(&name), Suspension::None));
        store.clear_suspension(&name).unwrap();
        let left: Vec<_> = fs::read_dir(store.paths(&name).data_dir()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn what_was_cut_off_is_no_state() {
        let (_home, store, name) = machine();
        store.begin_suspension(&name).unwrap().write_all(b"half").unwrap();
        assert!(!store.is_suspended(&name));
        suspend(&store, &name);
        fs::write(store.paths(&name).suspended(), b"{\"Version\":").unwrap();
        assert!(matches!(store.suspension(&name), Suspension::Damaged(_)));
        store.discard_suspension(&name).unwrap();
        assert!(!store.is_suspended(&name));
    }

    #[cfg(unix)]
    #[test]
    fn the_memory_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let (_home, store, name) = machine();
        suspend(&store, &name);
        let paths = store.paths(&name);
        for path in [paths.memory(), paths.suspended()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn each_run_makes_another_generation() {
        let (_home, store, name) = machine();
        let before = store.disk_generation(&name).unwrap();
        assert_eq!(store.disk_generation(&name).unwrap(), before);
        store.count_run(&name).unwrap();
        assert_ne!(store.disk_generation(&name).unwrap(), before);
    }
}
