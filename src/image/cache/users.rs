//! Which machines need a base image, and the lock under which that changes.
//!
//! Several homes may share a cache, so a machine's disk is written down beside
//! the base it needs before it is made, and counts as long as it exists: the
//! record of a machine that is gone needs nobody to remove it. Who adds a user
//! and who removes a base do it under the same lock of that base.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Base, Cache, Lock};
use crate::fs::{Access, write_atomic};
use crate::host;
use crate::image::error::ImageError;
use crate::image::hashing::digest_of;
use crate::machine::config::ImagePin;

/// The lock is held while a few small files are written.
const PATIENCE: Duration = Duration::from_secs(20);

/// A machine's disk upon a base image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[derive(JsonSchema)]
pub struct User {
    pub machine: String,
    /// Absolute.
    pub overlay: PathBuf,
}

/// A base image whose users do not change meanwhile.
#[derive(Debug)]
pub struct Held<'a> {
    cache: &'a Cache,
    sha256: String,
    _lock: Lock,
}

impl Cache {
    /// Waits until nobody else changes the users of this base.
    pub fn hold(&self, sha256: &str) -> Result<Held<'_>, ImageError> {
        let path = self.lock_path(&format!("base-{sha256}"));
        let lock = Lock::acquire(&path, PATIENCE).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => ImageError::Busy(sha256.to_owned()),
            _ => ImageError::cache(&self.dir, e),
        })?;
        Ok(Held { cache: self, sha256: sha256.to_owned(), _lock: lock })
    }

    /// The machines that were written down and whose disks exist, of any home.
    pub fn users(&self, sha256: &str) -> Vec<User> {
        let entries = fs::read_dir(self.users_dir(sha256)).into_iter().flatten().flatten();
        let mut users: Vec<User> =
            entries.filter_map(|entry| living(&entry.path()).ok().flatten()).collect();
        users.sort();
        users
    }

    /// Writes down that the disk `overlay` of a machine needs the base of this
    /// pin, which is there and stays as long as the result is kept, and then
    /// as long as the disk. `None` where the cache cannot be written: then
    /// only the machine's own home knows.
    pub fn claim(
        &self,
        pin: &ImagePin,
        machine: &str,
        overlay: &Path,
    ) -> Result<Option<Held<'_>>, ImageError> {
        let held = match self.hold(&pin.sha256).and_then(|held| {
            held.add(&User { machine: machine.to_owned(), overlay: overlay.to_owned() })?;
            Ok(held)
        }) {
            Ok(held) => Some(held),
            Err(ImageError::Cache { source, .. }) if is_closed(&source) => None,
            Err(e) => return Err(e),
        };
        self.base(pin)?;
        Ok(held)
    }

    fn users_dir(&self, sha256: &str) -> PathBuf {
        self.dir.join("users").join(sha256)
    }
}

/// Somebody else's cache may be read and not written.
pub fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

impl Held<'_> {
    fn add(&self, user: &User) -> Result<(), ImageError> {
        let id = digest_of(user.overlay.as_os_str().as_encoded_bytes());
        let path = self.cache.users_dir(&self.sha256).join(format!("{}.json", &id[..32]));
        if path.is_file() {
            return Ok(());
        }
        let bytes = serde_json::to_vec_pretty(user).map_err(io::Error::from);
        bytes
            .and_then(|bytes| write_atomic(&path, &bytes, Access::Default))
            .map_err(|e| ImageError::cache(&self.cache.dir, e))
    }

    /// The machines that were written down and whose disks exist.
    pub fn users(&self) -> Vec<User> {
        self.cache.users(&self.sha256)
    }

    /// Removes the base and everything about it. The caller has made sure that
    /// nobody needs it. What leads to it goes first: whoever looks for it from
    /// now on gets it anew.
    pub fn remove(self, base: &Base) -> Result<(), ImageError> {
        let failed = |e| ImageError::cache(&self.cache.dir, e);
        self.cache.forget(&self.sha256, None).map_err(failed)?;
        self.cache.remove_templates_of(&self.sha256).map_err(failed)?;
        host::remove_file(&base.path).map_err(failed)?;
        for dir in [self.cache.boot_dir(&self.sha256), self.cache.users_dir(&self.sha256)] {
            match fs::remove_dir_all(dir) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Forgets one of several names of the base.
    pub fn forget(self, name: &str) -> Result<(), ImageError> {
        let forgotten = self.cache.forget(&self.sha256, Some(name));
        forgotten.map_err(|e| ImageError::cache(&self.cache.dir, e))
    }
}

/// The user in a record, unless its disk is gone. A disk that cannot be looked
/// at (another person's home) and a record that cannot be read are in use.
fn living(record: &Path) -> io::Result<Option<User>> {
    let unknown = || User { machine: "unknown".to_owned(), overlay: record.to_owned() };
    let user: User = serde_json::from_slice(&fs::read(record)?).unwrap_or_else(|_| unknown());
    match user.overlay.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => Ok(Some(user)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::config::{Arch, DiskFormat};
    use crate::machine::verified::Verified;

    fn pin(sha256: &str) -> ImagePin {
        ImagePin {
            source: "x".into(),
            stream: None,
            release: None,
            arch: Arch::X86_64,
            sha256: sha256.to_owned(),
            format: DiskFormat::Raw,
            virtual_size: 3,
            verified: Verified::default(),
        }
    }

    #[test]
    fn a_user_counts_as_long_as_its_disk_exists() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let (sha256, overlay) = ("ab".repeat(32), dir.path().join("disk.qcow2"));
        let error = cache.claim(&pin(&sha256), "one", &overlay).unwrap_err();
        assert!(matches!(error, ImageError::BaseMissing { .. }), "{error}");

        fs::write(cache.dir().join(format!("{sha256}.raw")), b"abc").unwrap();
        fs::write(&overlay, b"").unwrap();
        let held = cache.claim(&pin(&sha256), "one", &overlay).unwrap().unwrap();
        let one = User { machine: "one".to_owned(), overlay: overlay.clone() };
        assert_eq!(held.users(), [one]);
        drop(held);
        fs::remove_file(&overlay).unwrap();
        assert_eq!(cache.users(&sha256), []);

        let bases = cache.bases().unwrap();
        cache.hold(&sha256).unwrap().remove(&bases[0]).unwrap();
        assert_eq!(cache.bases().unwrap(), []);
    }
}
