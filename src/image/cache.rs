//! The image cache: every name in it, what it remembers, and its locks.
//!
//! ```text
//! <cache>/<sha256 of the disk>.qcow2|raw   a base image, read-only, verified
//! <cache>/index/KEY.json                   which base a source gave; losing it costs a download
//! <cache>/locks/KEY.lock                   held while that source is fetched or built
//! <cache>/KEY.partial                      being written, under that lock
//! <cache>/KEY.download                     a download to be continued ...
//! <cache>/index/KEY.download.json          ... and which file it is of
//! <cache>/KEY.work/                        a build's directory, under that lock
//! <cache>/keys/KEY.pgp                     public keys of publishers; losing them costs a fetch
//! <cache>/packages/                        packages a build has downloaded
//! <cache>/users/SHA256/ID.json             a machine's disk that needs this base (users.rs)
//! <cache>/boot/SHA256/                     kernel and initramfs of that base (boot.rs); losing all costs nothing
//! <cache>/locks/base-SHA256.lock           held while that base gets a user, or goes (users.rs)
//! <cache>/imported/NAME.json               a name given by `image import`
//! <cache>/templates/DIGEST/                a guest after its first boot (templates.rs)
//! ```
//!
//! Several machines and several users' programs may share it: a base has the
//! name of its content, so whoever is second finds it.

mod contents;
mod left_overs;
mod templates;
mod users;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fs::{Access, Lock, write_atomic};
use crate::machine::config::{Arch, DiskFormat, ImagePin};
use crate::machine::verified::Verified;

use super::disk;
use super::error::ImageError;
use super::hashing::digest_of;
use super::prepare::Job;

pub use contents::{Base, DOWNLOAD, Unfinished};
pub use left_overs::LeftOver;
pub use templates::{FoundTemplate, Making, TemplateFiles, TemplateState, written};
pub(super) use users::is_closed;
pub use users::{Held, User};

/// How often a waiter asks for a lock, and how soon it notices Ctrl-C.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// A directory of base images.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

/// The name under which a source is remembered and locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// `kind` for people who look into the directory, `parts` for uniqueness.
    pub fn new(kind: &str, parts: &[&str]) -> Self {
        let digest = digest_of(parts.join("\n").as_bytes());
        Self(format!("{kind}-{}", &digest[..32]))
    }
}

/// What a source gave the last time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// For people; the key is what counts.
    pub source: String,
    /// Of the file as published, before decompression.
    pub source_sha256: String,
    /// Of the disk: the base's name.
    pub sha256: String,
    pub format: DiskFormat,
    pub virtual_size: u64,
    /// Of the base file, in bytes.
    pub length: u64,
    #[serde(default)]
    pub stream: Option<String>,
    #[serde(default)]
    pub release: Option<String>,
    #[serde(default = "Verified::unrecorded")]
    pub verified: Verified,
    /// `None` where the source says nothing of it: a path, a URL.
    #[serde(default)]
    pub arch: Option<Arch>,
}

impl Cache {
    /// Opens the cache at `dir`, which is created when needed.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let failed = |e| ImageError::cache(dir, e);
        let dir = std::path::absolute(dir).map_err(failed)?;
        fs::create_dir_all(&dir).map_err(failed)?;
        Ok(Self { dir })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the base of this pin is, if it is there.
    pub fn base_path(&self, pin: &ImagePin) -> PathBuf {
        self.base_named(&pin.sha256, pin.format)
    }

    /// The base of this pin, which exists and has the size it had.
    pub fn base(&self, pin: &ImagePin) -> Result<PathBuf, ImageError> {
        let path = self.base_path(pin);
        if !path.is_file() {
            return Err(ImageError::BaseMissing { path, image: pin.source.clone() });
        }
        match disk::virtual_size(&path, pin.format)? {
            size if size == pin.virtual_size => Ok(path),
            size => {
                let reason = format!("it has {size} bytes, not {}", pin.virtual_size);
                Err(ImageError::BaseChanged { path, reason })
            }
        }
    }

    pub(super) fn base_named(&self, sha256: &str, format: DiskFormat) -> PathBuf {
        self.dir.join(format!("{sha256}.{}", format.name()))
    }

    /// What has been unpacked of this base.
    pub(super) fn boot_dir(&self, sha256: &str) -> PathBuf {
        self.dir.join("boot").join(sha256)
    }

    /// Packages that builds have downloaded.
    pub(super) fn packages(&self) -> PathBuf {
        self.dir.join("packages")
    }

    /// Public keys that a publisher has given.
    pub(super) fn keyring(&self, key: &Key) -> PathBuf {
        self.dir.join("keys").join(format!("{}.pgp", key.0))
    }

    pub(super) fn partial(&self, key: &Key) -> PathBuf {
        self.dir.join(format!("{}.partial", key.0))
    }

    /// The bytes of an unfinished download, and the note about them.
    pub(super) fn download(&self, key: &Key) -> (PathBuf, PathBuf) {
        let note = self.dir.join("index").join(format!("{}.download.json", key.0));
        (self.dir.join(format!("{}.download", key.0)), note)
    }

    pub(super) fn work(&self, key: &Key) -> PathBuf {
        self.dir.join(format!("{}.work", key.0))
    }

    fn index(&self, key: &Key) -> PathBuf {
        self.dir.join("index").join(format!("{}.json", key.0))
    }

    fn lock_path(&self, key: &str) -> PathBuf {
        self.dir.join("locks").join(format!("{key}.lock"))
    }

    /// What the source gave, when its base is still whole. Anything unreadable
    /// counts as forgotten.
    pub(super) fn recall(&self, key: &Key) -> Option<Remembered> {
        let bytes = fs::read(self.index(key)).ok()?;
        let found: Remembered = serde_json::from_slice(&bytes).ok()?;
        let base = fs::metadata(self.base_named(&found.sha256, found.format)).ok()?;
        (base.is_file() && base.len() == found.length).then_some(found)
    }

    pub(super) fn remember(&self, key: &Key, found: &Remembered) -> Result<(), ImageError> {
        let bytes = serde_json::to_vec_pretty(found).map_err(io::Error::from);
        bytes
            .and_then(|bytes| write_atomic(&self.index(key), &bytes, Access::Default))
            .map_err(|e| ImageError::cache(&self.dir, e))
    }

    /// Waits until no other process works on this source. The kernel ends the
    /// lock with its holder, so no wait outlives the work it is for.
    fn lock(&self, key: &Key, what: &str, job: &Job<'_>) -> Result<Lock, ImageError> {
        let path = self.lock_path(&key.0);
        let mut told = false;
        loop {
            let lock = Lock::try_acquire(&path).map_err(|e| ImageError::cache(&self.dir, e))?;
            if let Some(lock) = lock {
                return Ok(lock);
            }
            if !std::mem::replace(&mut told, true) {
                job.progress.note(format!("Waiting for another nsvm that prepares {what}"));
            }
            std::thread::sleep(LOCK_POLL);
            job.go_on()?;
        }
    }

    /// What `key` gave, or what `make` gives now: one process at a time makes
    /// it, the others wait and find it.
    pub(super) fn obtain(
        &self,
        key: &Key,
        what: &str,
        job: &Job<'_>,
        make: impl FnOnce() -> Result<Remembered, ImageError>,
    ) -> Result<Remembered, ImageError> {
        self.obtain_if(key, what, job, |_| Ok(true), make)
    }

    /// The same, but what `key` gave counts only if it `suffices` now.
    pub(super) fn obtain_if(
        &self,
        key: &Key,
        what: &str,
        job: &Job<'_>,
        suffices: impl Fn(&Remembered) -> Result<bool, ImageError>,
        make: impl FnOnce() -> Result<Remembered, ImageError>,
    ) -> Result<Remembered, ImageError> {
        let recall = || -> Result<Option<Remembered>, ImageError> {
            let Some(found) = self.recall(key) else { return Ok(None) };
            Ok(suffices(&found)?.then_some(found))
        };
        if let Some(found) = recall()? {
            self.forget_finished_download(key);
            return Ok(found);
        }
        let _lock = self.lock(key, what, job)?;
        if let Some(found) = recall()? {
            return Ok(found);
        }
        self.sweep();
        let found = make()?;
        self.remember(key, &found)?;
        // Not before: who is killed in between has nothing to download again.
        self.forget_download(key);
        Ok(found)
    }
}

/// Makes a finished file read-only and gives it its final name. A file of that
/// name has the same content, and a running VM may have it open: it stays.
pub(super) fn publish(file: &File, from: &Path, to: &Path) -> io::Result<()> {
    let length = file.metadata()?.len();
    if fs::metadata(to).is_ok_and(|there| there.is_file() && there.len() == length) {
        return fs::remove_file(from);
    }
    file.sync_all()?;
    crate::host::allow_default(from)?;
    let mut permissions = fs::metadata(from)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(from, permissions)?;
    fs::rename(from, to)?;
    crate::fs::sync_dir(to.parent().unwrap_or(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_their_parts() {
        assert_ne!(Key::new("file", &["a", "b"]), Key::new("file", &["a", "c"]));
        assert!(Key::new("file", &["a"]).0.starts_with("file-"));
    }
}
