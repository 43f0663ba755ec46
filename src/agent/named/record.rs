//! What is known of named namespaces: one file for each, which outlives agent
//! and boot.
//!
//! A file is replaced as a whole, and made by a call that fails when it is
//! there: so it also reserves the name. Nothing is synced to the disk: what a
//! power cut loses is gone with the boot anyway.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::agent::process::Process;
use crate::namespace::kind::Kind;
use crate::namespace::named::{Name, NamedSpec};

/// One named namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub spec: NamedSpec,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970.
    pub created: i64,
    pub boot_id: String,
    /// The agent that makes it.
    pub maker: Process,
    /// None: it is not made yet.
    pub holder: Option<Process>,
    /// Numbers of the namespaces that were made.
    pub namespaces: BTreeMap<Kind, u64>,
}

/// Which of a record's states it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Running(Process),
    /// Its maker is still at it.
    Making,
    /// The machine has been started since.
    OtherBoot,
    /// Its maker has ended before it was done.
    Unfinished,
    /// Its holder has ended.
    Ended,
}

impl Record {
    /// Where it stands in the boot of this id.
    pub fn standing(&self, boot_id: &str) -> Standing {
        match self.holder {
            _ if self.boot_id != boot_id => Standing::OtherBoot,
            Some(holder) if holder.is_alive() => Standing::Running(holder),
            Some(_) => Standing::Ended,
            None if self.maker.is_alive() => Standing::Making,
            None => Standing::Unfinished,
        }
    }
}

/// The directory of records, root's alone.
#[derive(Debug)]
pub struct Records {
    dir: PathBuf,
}

impl Records {
    /// Those below an agent's state directory, which need not be there yet.
    pub fn below(state: &Path) -> Self {
        Self { dir: state.join("ns") }
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    /// None: there is none of this name.
    pub fn read(&self, name: &Name) -> io::Result<Option<Record>> {
        match fs::read(self.path(name)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All names, in order.
    pub fn names(&self) -> io::Result<Vec<Name>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.parse().ok()
        };
        let mut names: Vec<Name> = entries.filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// Fails when there is one of this name.
    pub fn create(&self, record: &Record) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let new = self.write_aside(record)?;
        let made = fs::hard_link(&new, self.path(&record.spec.name));
        fs::remove_file(&new)?;
        made
    }

    pub fn replace(&self, record: &Record) -> io::Result<()> {
        fs::rename(self.write_aside(record)?, self.path(&record.spec.name))
    }

    /// Forgets exactly this one: another may have its name by now.
    pub fn remove(&self, record: &Record) -> io::Result<()> {
        let name = &record.spec.name;
        match self.read(name) {
            Ok(Some(found)) if is_same(&found, record) => self.forget(name),
            _ => Ok(()),
        }
    }

    /// Forgets whatever has this name.
    pub fn forget(&self, name: &Name) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Its name is no record's, and no other agent's.
    fn write_aside(&self, record: &Record) -> io::Result<PathBuf> {
        let path = self.dir.join(format!(".new-{}", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file: File = options.open(&path)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        Ok(path)
    }
}

/// Whether both are of one making.
fn is_same(one: &Record, other: &Record) -> bool {
    let of = |record: &Record| (record.boot_id.clone(), record.maker, record.created, record.uid);
    of(one) == of(other) && (one.holder == other.holder || other.holder.is_none())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::namespace::limits::Limits;
    use crate::namespace::spec::NamespaceSpec;

    pub fn record(name: &str) -> Record {
        Record {
            spec: NamedSpec {
                name: name.parse().unwrap(),
                namespaces: NamespaceSpec::default(),
                limits: Limits::NONE,
            },
            uid: 1000,
            gid: 1000,
            created: 7,
            boot_id: "this".into(),
            maker: Process::own().unwrap(),
            holder: None,
            namespaces: [(Kind::Net, 4_026_531_840)].into(),
        }
    }

    #[test]
    fn a_record_is_made_once_and_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::below(dir.path());
        assert_eq!(records.names().unwrap(), []);
        let one = record("one");
        records.create(&one).unwrap();
        assert_eq!(records.create(&one).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let made = Record { holder: Some(one.maker), ..one.clone() };
        records.replace(&made).unwrap();
        assert_eq!(records.read(&one.spec.name).unwrap(), Some(made.clone()));
        records.create(&record("a")).unwrap();
        let names: Vec<_> = records.names().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "one"]);
        records.remove(&Record { created: 8, ..made.clone() }).unwrap();
        assert!(records.read(&made.spec.name).unwrap().is_some(), "it is another one");
        records.remove(&made).unwrap();
        assert_eq!(records.read(&made.spec.name).unwrap(), None);
        assert_eq!(fs::read_dir(dir.path().join("ns")).unwrap().count(), 1);
    }

    #[test]
    fn broken_files_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::below(dir.path());
        records.create(&record("x")).unwrap();
        fs::write(dir.path().join("ns/x.json"), "").unwrap();
        assert!(records.read(&"x".parse().unwrap()).is_err());
    }

    #[test]
    fn where_it_stands_depends_on_boot_maker_and_holder() {
        let making = record("x");
        let own = making.maker;
        let ended = Process { started: own.started + 1, ..own };
        assert_eq!(making.standing("this"), Standing::Making);
        assert_eq!(making.standing("other"), Standing::OtherBoot);
        let unfinished = Record { maker: ended, ..making.clone() };
        assert_eq!(unfinished.standing("this"), Standing::Unfinished);
        let held = |holder| Record { holder: Some(holder), ..unfinished.clone() };
        assert_eq!(held(own).standing("this"), Standing::Running(own));
        assert_eq!(held(ended).standing("this"), Standing::Ended);
        assert_eq!(held(own).standing("other"), Standing::OtherBoot);
    }
}
