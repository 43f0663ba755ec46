//! A cache of its own, impatient settings, and disks to put in.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nsvm::image::{Cache, ImageError, Patience, Prepared, Pull, Settings, Wanted, prepare};
use nsvm::machine::config::Arch;
use nsvm::machine::event::{Event, Progress};
use sha2::{Digest, Sha256};

pub struct World {
    dir: tempfile::TempDir,
    pub settings: Settings,
    pub events: Events,
    pub cancel: AtomicBool,
}

#[derive(Default)]
pub struct Events(Mutex<Vec<Event>>);

impl Progress for Events {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Events {
    pub fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }
}

impl World {
    pub fn new() -> Self {
        let patience = Patience {
            connect: Duration::from_secs(2),
            stall: Duration::from_millis(500),
            tries: 3,
            pause: Duration::from_millis(10),
        };
        Self {
            dir: tempfile::tempdir().unwrap(),
            settings: Settings { patience, ..Settings::default() },
            events: Events::default(),
            cancel: AtomicBool::new(false),
        }
    }

    pub fn cache_dir(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    pub fn cache(&self) -> Cache {
        Cache::open(&self.cache_dir()).unwrap()
    }

    /// Where files outside the cache are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file outside the cache.
    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn prepare(&self, source: &str, sha256: Option<&str>) -> Result<Prepared, ImageError> {
        self.prepare_for(Arch::X86_64, source, sha256)
    }

    pub fn prepare_for(
        &self,
        arch: Arch,
        source: &str,
        sha256: Option<&str>,
    ) -> Result<Prepared, ImageError> {
        let wanted = Wanted { source, sha256, arch };
        prepare(&self.cache(), &wanted, &self.settings, &self.events, &self.cancel)
    }

    /// The error of a source that must give no image and leave nothing.
    pub fn refused(&self, source: &str, sha256: Option<&str>) -> ImageError {
        let error = self.interrupted(source, sha256);
        assert_eq!(self.unfinished(), [""; 0], "left behind after: {error}");
        error
    }

    /// The error of a source, whatever else is in the cache.
    pub fn refused_only(&self, source: &str) -> ImageError {
        let before = self.images();
        let error = self.prepare(source, None).unwrap_err();
        assert_eq!(self.images(), before, "changed after: {error}");
        error
    }

    /// The error of a source that may be gone on with later.
    pub fn interrupted(&self, source: &str, sha256: Option<&str>) -> ImageError {
        let error = self.prepare(source, sha256).unwrap_err();
        assert_eq!(self.images(), [""; 0], "left behind after: {error}");
        error
    }

    pub fn pull(mut self, pull: Pull) -> Self {
        self.settings.pull = pull;
        self
    }

    /// Everything in the cache but its index, its (empty) locks, keys and what
    /// remains of downloads to be continued.
    pub fn images(&self) -> Vec<String> {
        self.names(|name| {
            !matches!(name, "index" | "locks" | "keys") && !name.contains(".download")
        })
    }

    /// What remains of downloads to be continued.
    pub fn unfinished(&self) -> Vec<String> {
        self.names(|name| name.contains(".download"))
    }

    fn names(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.cache_dir()) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| wanted(name)).collect();
        names.sort();
        names
    }
}

pub fn digest(bytes: &[u8]) -> String {
    let nibble = |value: u8| char::from_digit(value.into(), 16).unwrap();
    Sha256::digest(bytes).iter().flat_map(|byte| [nibble(byte >> 4), nibble(byte & 15)]).collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A raw disk of 1 MiB that does not compress, then 64 KiB of nothing.
pub fn raw_disk(seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let mut disk: Vec<u8> = (0..1 << 18).flat_map(|_| next().to_le_bytes()).collect();
    disk.resize(disk.len() + (64 << 10), 0);
    disk
}

/// A qcow2 of 32 MiB with one cluster of data, made by hand: header, refcount
/// table, refcount block, L1, L2, data.
pub fn qcow2_disk(seed: u32) -> Vec<u8> {
    const CLUSTER: usize = 1 << 16;
    let mut disk = vec![0; 6 * CLUSTER];
    let mut put = |at: usize, value: &[u8]| disk[at..at + value.len()].copy_from_slice(value);
    let at = |cluster: usize| (cluster as u64 * CLUSTER as u64).to_be_bytes();
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &16_u32.to_be_bytes());
    put(24, &(32_u64 << 20).to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &at(3));
    put(48, &at(1));
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    put(CLUSTER, &at(2));
    for cluster in 0..6 {
        put(2 * CLUSTER + 2 * cluster, &1_u16.to_be_bytes());
    }
    let copied = |cluster: usize| ((cluster as u64 * CLUSTER as u64) | (1 << 63)).to_be_bytes();
    put(3 * CLUSTER, &copied(4));
    put(4 * CLUSTER, &copied(5));
    put(5 * CLUSTER, &raw_disk(seed)[..CLUSTER]);
    disk
}

pub fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
}
