//! Machines on disk: load, list, create, lock, remove.
//!
//! Three things are kept apart: the config (what the user wants), the history
//! (dates) and the run record (facts of this run, disposable). The status is
//! derived from kernel-held locks and stored nowhere.

mod error;
mod records;
mod snapshots;
mod suspension;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fs::{Access, Lock, is_locked, sweep, write_atomic};
use crate::machine::config::{MachineConfig, VERSION};
use crate::machine::name::{MachineName, nearest};
use crate::machine::paths::{Dirs, MachinePaths};
use crate::machine::status::Status;

pub use error::{StoreError, io_error};
pub use records::{AgentRecord, History, Phase, RunRecord};
pub use suspension::Suspension;

/// How long a command waits for another one that is changing the machine.
const LOCK_PATIENCE: Duration = Duration::from_secs(20);

/// The lock of a name. Where it belongs to no machine in the end, because none
/// was made or it is removed, the lock's files go with it.
#[derive(Debug)]
pub struct NameLock {
    paths: MachinePaths,
    _lock: Lock,
}

impl Drop for NameLock {
    fn drop(&mut self) {
        if self.paths.config().symlink_metadata().is_ok() {
            return;
        }
        // Whoever waits for one of them looks whether it is still that file.
        for path in [self.paths.alive_lock(), self.paths.vm_lock()] {
            if is_locked(&path).is_ok_and(|locked| !locked) {
                let _ = crate::fs::remove(&path);
            }
        }
        let _ = crate::fs::remove(&self.paths.lock());
    }
}

/// The machines below one set of directories.
#[derive(Debug, Clone)]
pub struct Store {
    dirs: Dirs,
}

impl Store {
    pub fn new(dirs: Dirs) -> Self {
        Self { dirs }
    }

    pub fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    pub fn paths(&self, name: &MachineName) -> MachinePaths {
        self.dirs.machine(name)
    }

    pub fn load(&self, name: &MachineName) -> Result<MachineConfig, StoreError> {
        let path = self.paths(name).config();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let nearest = nearest(name, self.names().unwrap_or_default());
                return Err(StoreError::Missing { name: name.clone(), nearest });
            }
            Err(e) => return Err(io_error("reading", &path)(e)),
        };
        let config = parse_config(&path, &bytes)?;
        if config.name == *name {
            return Ok(config);
        }
        // A file system that takes capitals for small letters.
        if config.name.as_str().eq_ignore_ascii_case(name.as_str()) {
            return Err(StoreError::Missing { name: name.clone(), nearest: Some(config.name) });
        }
        let reason = format!("it is about a machine \"{}\"", config.name);
        Err(StoreError::Unreadable { path, reason })
    }

    /// Every machine, and what could not be read: one bad file never hides
    /// the others.
    pub fn list(&self) -> Result<(Vec<MachineConfig>, Vec<StoreError>), StoreError> {
        let (names, mut bad) = self.files()?;
        let mut good = Vec::new();
        for name in names {
            match self.load(&name) {
                Ok(config) => good.push(config),
                // Removed just now.
                Err(StoreError::Missing { .. }) => {}
                Err(e) => bad.push(e),
            }
        }
        Ok((good, bad))
    }

    /// Every name that a file of machines has, readable or not, in order.
    pub fn names(&self) -> Result<Vec<MachineName>, StoreError> {
        let (names, _) = self.files()?;
        Ok(names)
    }

    /// The names of the files of machines, and what has a name that is none.
    fn files(&self) -> Result<(Vec<MachineName>, Vec<StoreError>), StoreError> {
        let dir = self.dirs.machines();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((vec![], vec![])),
            Err(e) => return Err(io_error("reading the directory", &dir)(e)),
        };
        let (mut names, mut bad) = (Vec::new(), Vec::new());
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.extension().is_none_or(|suffix| suffix != "json") {
                continue;
            }
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            match stem.parse::<MachineName>() {
                Ok(name) => names.push(name),
                Err(e) => bad.push(StoreError::Unreadable { path, reason: e.to_string() }),
            }
        }
        names.sort();
        Ok((names, bad))
    }

    /// Writes a config that is new or changed; the caller holds the lock.
    pub fn save(&self, config: &MachineConfig) -> Result<(), StoreError> {
        let path = self.paths(&config.name).config();
        sweep(&path);
        let bytes = serde_json::to_vec_pretty(config).expect("plain fields serialize");
        write_atomic(&path, &bytes, Access::Default).map_err(io_error("writing", &path))
    }

    pub fn exists(&self, name: &MachineName) -> bool {
        self.paths(name).config().exists()
    }

    /// Keeps other commands from changing the machine meanwhile.
    pub fn lock(&self, name: &MachineName) -> Result<NameLock, StoreError> {
        let paths = self.paths(name);
        let path = paths.lock();
        let lock = Lock::acquire(&path, LOCK_PATIENCE).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => StoreError::Busy(name.clone()),
            _ => io_error("locking", &path)(e),
        })?;
        Ok(NameLock { paths, _lock: lock })
    }

    /// The locks of two machines, always in the same order, so that two
    /// commands cannot wait for each other.
    pub fn lock_both(
        &self,
        one: &MachineName,
        other: &MachineName,
    ) -> Result<(NameLock, NameLock), StoreError> {
        if one == other {
            return Err(StoreError::Exists(one.clone()));
        }
        let (first, second) = if one < other { (one, other) } else { (other, one) };
        Ok((self.lock(first)?, self.lock(second)?))
    }

    /// The machine that is meant when none is named.
    pub fn default_name(&self) -> MachineName {
        let chosen = fs::read_to_string(self.dirs.default_machine()).ok();
        chosen.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
    }

    pub fn set_default(&self, name: &MachineName) -> Result<(), StoreError> {
        let path = self.dirs.default_machine();
        let text = format!("{name}\n");
        write_atomic(&path, text.as_bytes(), Access::Default).map_err(io_error("writing", &path))
    }

    pub fn history(&self, name: &MachineName) -> History {
        records::read(&self.paths(name).history()).unwrap_or_default()
    }

    pub fn save_history(&self, name: &MachineName, history: &History) -> Result<(), StoreError> {
        records::write(&self.paths(name).history(), history)
    }

    /// Facts of this run, if there is a run.
    pub fn run_record(&self, name: &MachineName) -> Option<RunRecord> {
        records::read(&self.paths(name).run_record())
    }

    pub fn save_run_record(&self, name: &MachineName, run: &RunRecord) -> Result<(), StoreError> {
        records::write(&self.paths(name).run_record(), run)
    }

    /// Whether a supervisor lives, be it that it is ending.
    pub fn is_supervised(&self, name: &MachineName) -> bool {
        is_locked(&self.paths(name).alive_lock()).unwrap_or(false)
    }

    /// What the locks, the run record and the sockets say, together.
    pub fn status(&self, name: &MachineName) -> Status {
        let paths = self.paths(name);
        let seen = records::Seen {
            supervised: self.is_supervised(name),
            vm_lives: is_locked(&paths.vm_lock()).unwrap_or(false),
            // `exists` follows links, and Windows takes a socket for one to nowhere.
            control: paths.qmp_socket().symlink_metadata().is_ok(),
            suspended: self.is_suspended(name),
        };
        records::derive(seen, self.run_record(name))
    }

    /// Whose VM lives, by the kernel-held locks alone: readable or not.
    pub fn living_vms(&self) -> Result<Vec<MachineName>, StoreError> {
        let dir = self.dirs.locks();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(io_error("reading the directory", &dir)(e)),
        };
        let named = entries.flatten().filter_map(|entry| {
            entry.file_name().to_str()?.strip_suffix(".vm.lock")?.parse::<MachineName>().ok()
        });
        Ok(named.filter(|name| is_locked(&self.paths(name).vm_lock()).unwrap_or(true)).collect())
    }

    /// Every file and directory a machine may have, the config first: once
    /// that is gone the machine is, and the rest is litter.
    pub fn files_of(&self, name: &MachineName) -> Vec<PathBuf> {
        let paths = self.paths(name);
        let all = [
            paths.config(),
            paths.ignition(),
            paths.data_dir(),
            paths.state_dir(),
            paths.runtime_dir(),
            paths.alive_lock(),
            paths.vm_lock(),
            paths.lock(),
        ];
        all.into_iter().filter(|path| path.symlink_metadata().is_ok()).collect()
    }

    /// Whether there is something of a machine besides its locks.
    pub fn has_traces(&self, name: &MachineName) -> bool {
        let paths = self.paths(name);
        let locks = [paths.alive_lock(), paths.vm_lock(), paths.lock()];
        self.files_of(name).iter().any(|path| !locks.contains(path))
    }

    /// Removes whatever is there of a machine; the caller holds its lock. One
    /// that is gone is no default either.
    pub fn remove_files(&self, name: &MachineName) -> Result<(), StoreError> {
        if self.default_name() == *name {
            let _ = fs::remove_file(self.dirs.default_machine());
        }
        let paths = self.paths(name);
        sweep(&paths.config());
        sweep(&paths.ignition());
        remove_all(&self.files_of(name))
    }

    /// The same, but for one file that stays.
    pub fn remove_files_except(&self, name: &MachineName, kept: &Path) -> Result<(), StoreError> {
        let files: Vec<_> = self.files_of(name).into_iter().filter(|path| path != kept).collect();
        remove_all(&files)
    }
}

fn remove_all(paths: &[PathBuf]) -> Result<(), StoreError> {
    for path in paths {
        crate::fs::remove_if_there(path).map_err(io_error("removing", path))?;
    }
    Ok(())
}

/// A machine config out of the bytes of a file.
pub fn parse_config(path: &Path, bytes: &[u8]) -> Result<MachineConfig, StoreError> {
    let unreadable = |e: serde_json::Error| StoreError::Unreadable {
        path: path.to_owned(),
        reason: e.to_string(),
    };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(unreadable)?;
    let found = value.get("Version").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if found > u64::from(VERSION) {
        return Err(StoreError::TooNew { path: path.to_owned(), found });
    }
    serde_json::from_value(value).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::config::{
        Arch, Changes, DiskFormat, ImagePin, Provisioning, Resources, SshConfig,
    };
    use crate::machine::units::{GiB, MiB};

    fn store() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(home.path(), home.path().join("cache"), home.path().join("run"));
        (home, Store::new(dirs))
    }

    fn config(name: &str) -> MachineConfig {
        MachineConfig {
            version: VERSION,
            name: name.parse().unwrap(),
            uuid: "u".into(),
            image: ImagePin {
                source: "debian-local".into(),
                stream: None,
                release: None,
                arch: Arch::X86_64,
                sha256: "00".into(),
                format: DiskFormat::Qcow2,
                virtual_size: 1,
                verified: crate::machine::verified::Verified::default(),
            },
            resources: Resources { cpus: 1, disk_size: GiB(10), memory: MiB(512), swap: MiB(0) },
            ssh: SshConfig { username: "core".into(), uid: None, port: 1, host_key: None },
            rootful: false,
            provisioning: Provisioning::Ignition,
            volumes: Vec::new(),
            ports: Vec::new(),
            protected: false,
            idle_suspend: crate::machine::idle::IdleTime::OFF,
            changes: Changes::default(),
            common_boot: None,
            unknown: serde_json::Map::new(),
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_unknown_fields_survive() {
        let (_home, store) = store();
        let mut made = config("a");
        made.unknown.insert("Later".into(), serde_json::json!({ "x": [1] }));
        store.save(&made).unwrap();
        assert_eq!(store.load(&made.name).unwrap(), made);
    }

    #[test]
    fn bad_files_are_named_and_the_others_still_listed() {
        let (_home, store) = store();
        store.save(&config("good")).unwrap();
        let dir = store.dirs().machines();
        fs::write(dir.join("cut.json"), b"{\"Version\":1").unwrap();
        fs::write(dir.join("future.json"), b"{\"Version\":99}").unwrap();
        fs::write(dir.join("foreign.json"), b"[]").unwrap();
        fs::write(dir.join("no machine name.json"), b"{}").unwrap();
        fs::copy(dir.join("good.json"), dir.join("copy.json")).unwrap();
        let (good, bad) = store.list().unwrap();
        assert_eq!(good.len(), 1);
        assert_eq!(bad.len(), 5);
        let text: String = bad.iter().map(|e| format!("{e}\n")).collect();
        for name in ["cut.json", "future.json", "foreign.json", "no machine name.json", "copy.json"]
        {
            assert!(text.contains(name), "{name} is missing in {text}");
        }
        assert!(text.contains("schema version 99"), "{text}");
    }

    #[test]
    fn a_missing_machine_says_how_to_make_one() {
        let (_home, store) = store();
        let error = store.load(&MachineName::default()).unwrap_err();
        assert_eq!(error.to_string(), "nsvm-machine-default: VM does not exist");
        assert!(error.hint().unwrap().contains("nsvm machine init --now"));
    }

    #[test]
    fn a_name_without_a_machine_keeps_no_lock() {
        let (_home, store) = store();
        let name: MachineName = "a".parse().unwrap();
        let lock = store.lock(&name).unwrap();
        assert!(!store.has_traces(&name) && store.paths(&name).lock().exists());
        drop(lock);
        assert!(store.files_of(&name).is_empty());
        store.save(&config("a")).unwrap();
        drop(store.lock(&name).unwrap());
        assert!(store.has_traces(&name) && store.paths(&name).lock().exists());
    }

    #[test]
    fn removal_takes_everything() {
        let (home, store) = store();
        let name: MachineName = "a".parse().unwrap();
        store.save(&config("a")).unwrap();
        store.save_history(&name, &History::default()).unwrap();
        let lock = store.lock(&name).unwrap();
        store.remove_files(&name).unwrap();
        drop(lock);
        assert!(store.files_of(&name).is_empty());
        let left: Vec<_> = fs::read_dir(home.path().join("config/machine")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
