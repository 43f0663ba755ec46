//! Images that `image import` has put into the cache under a name of the
//! user's: entries like those of the catalog, one file each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::cache::{Cache, Key, Remembered};
use super::catalog::{Catalog, Entry, Kind, Provisioner, is_name};
use super::error::ImageError;
use super::local;
use super::prepare::{Job, Settings};
use crate::fs::{Access, write_atomic};
use crate::machine::config::Arch;
use crate::machine::event::Progress;

/// A file of this host and how it shall be known.
#[derive(Debug, Clone)]
pub struct Import<'a> {
    pub file: &'a Path,
    pub name: String,
    /// Of the file, before any decompression.
    pub sha256: Option<&'a str>,
    pub arch: Arch,
    pub user: String,
    pub provisioner: Provisioner,
}

/// Copies the file into the cache under its name, which must be free.
pub fn import(
    cache: &Cache,
    import: &Import<'_>,
    settings: &Settings,
    progress: &dyn Progress,
    cancel: &AtomicBool,
) -> Result<Remembered, ImageError> {
    let refused = |reason: &str| {
        let reason = reason.to_owned();
        ImageError::BadName { name: import.name.clone(), reason }
    };
    if !is_name(&import.name) {
        return Err(refused("it is made of a-z, 0-9, \"-\", \"_\" and \".\""));
    }
    let known = catalog(cache, settings)?;
    if let Some(entry) = known.find(&import.name) {
        return Err(refused(match entry.kind {
            Kind::Imported => "an imported image has it",
            _ => "an image of the catalog has it",
        }));
    }
    let job = Job { cache, settings, arch: import.arch, progress, cancel, bearer: None };
    let sha256 = import.sha256.map(super::source::digest).transpose()?;
    let found = local::copied(&job, &key(&import.name), import.file, sha256.as_deref())?;
    let found = Remembered { source: import.name.clone(), arch: Some(import.arch), ..found };
    cache.remember(&key(&import.name), &found)?;
    let bytes = serde_json::to_vec_pretty(&entry(import)).map_err(io::Error::from);
    bytes
        .and_then(|bytes| write_atomic(&path(cache, &import.name), &bytes, Access::Default))
        .map_err(|e| ImageError::cache(cache.dir(), e))?;
    Ok(found)
}

/// A name for an import that has none: the file's, without what says how it is
/// packed.
pub fn name_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let mut stem = name.as_str();
    for suffix in [".xz", ".zst", ".zstd", ".gz", ".qcow2", ".img", ".raw"] {
        stem = stem.strip_suffix(suffix).unwrap_or(stem);
    }
    stem.replace(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)), "-")
}

/// Everything that has a name: embedded, the user's own, and imported.
pub fn catalog(cache: &Cache, settings: &Settings) -> Result<Catalog, ImageError> {
    let mut catalog = Catalog::with(settings.catalog.clone())?;
    let taken = |entry: &Entry| catalog.find(&entry.name).is_some();
    let imported: Vec<Entry> = entries(cache).into_iter().filter(|entry| !taken(entry)).collect();
    catalog.images.extend(imported);
    Ok(catalog)
}

/// What the name stands for.
pub fn image(job: &Job<'_>, name: &str) -> Result<Remembered, ImageError> {
    job.cache.recall(&key(name)).ok_or_else(|| ImageError::NotInCache(name.to_owned()))
}

/// Forgets names whose images are gone.
pub fn sweep(cache: &Cache) {
    for entry in entries(cache) {
        if cache.recall(&key(&entry.name)).is_none() {
            let _ = fs::remove_file(path(cache, &entry.name));
        }
    }
}

/// Whether the image would have to be imported again.
pub fn is_imported(cache: &Cache, name: &str) -> bool {
    is_name(name) && path(cache, name).is_file()
}

fn entries(cache: &Cache) -> Vec<Entry> {
    let files = fs::read_dir(cache.dir().join(DIR)).into_iter().flatten().flatten();
    let read = |file: fs::DirEntry| -> Option<Entry> {
        serde_json::from_slice(&fs::read(file.path()).ok()?).ok()
    };
    let mut entries: Vec<Entry> = files.filter_map(read).collect();
    entries.retain(|entry| entry.kind == Kind::Imported && is_name(&entry.name));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

const DIR: &str = "imported";

fn path(cache: &Cache, name: &str) -> PathBuf {
    cache.dir().join(DIR).join(format!("{name}.json"))
}

fn key(name: &str) -> Key {
    Key::new("import", &[name])
}

fn entry(import: &Import<'_>) -> Entry {
    Entry {
        name: import.name.clone(),
        summary: format!("imported from {}", import.file.display()),
        kind: Kind::Imported,
        arches: vec![import.arch],
        user: import.user.clone(),
        provisioner: import.provisioner,
        systemd: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files() {
        for (file, name) in [
            ("/a/Debian-13.qcow2.xz", "debian-13"),
            ("my disk.img", "my-disk"),
            ("x.raw.gz", "x"),
            ("box.v1.zst", "box.v1"),
        ] {
            assert_eq!(name_of(Path::new(file)), name);
        }
    }
}
