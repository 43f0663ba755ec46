//! What is in the cache: base images with all that is known of them, and
//! downloads that are not finished.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Cache, Remembered};
use crate::host;
use crate::image::disk;
use crate::image::error::ImageError;
use crate::image::saved::Note;
use crate::machine::config::DiskFormat;

/// One base image.
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    /// Lower-case hex: its name.
    pub sha256: String,
    pub format: DiskFormat,
    pub path: PathBuf,
    /// Of the file, in bytes.
    pub length: u64,
    /// What the file takes on its disk, in bytes.
    pub allocated: u64,
    /// When it came into the cache.
    pub created: Option<SystemTime>,
    /// What gave it; empty when that is forgotten.
    pub origins: Vec<Remembered>,
}

/// A download that can go on where it stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    pub url: String,
    pub done: u64,
    pub total: Option<u64>,
}

impl Base {
    /// The first digits of its digest, as lists show it.
    pub fn short(&self) -> &str {
        &self.sha256[..12]
    }

    /// What it is called, each name once.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.origins.iter().map(|o| o.source.as_str()).collect();
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(*name));
        names
    }

    /// What a guest sees, in bytes; `None` when the file cannot be understood.
    pub fn virtual_size(&self) -> Option<u64> {
        disk::virtual_size(&self.path, self.format).ok()
    }
}

impl Cache {
    /// Every base image, in the order of their digests.
    pub fn bases(&self) -> Result<Vec<Base>, ImageError> {
        let origins = self.origins();
        let entries = fs::read_dir(&self.dir).map_err(|e| ImageError::cache(&self.dir, e))?;
        let mut bases: Vec<Base> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| base(&entry.path(), &origins).ok().flatten())
            .collect();
        bases.sort_by(|a, b| a.sha256.cmp(&b.sha256));
        Ok(bases)
    }

    /// Downloads that the next attempt goes on with.
    pub fn unfinished(&self) -> Vec<Unfinished> {
        let notes = self.index_files(".download.json");
        let found = notes.into_iter().filter_map(|(key, path)| {
            let note: Note = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
            let done = fs::metadata(self.dir.join(format!("{key}.download"))).ok()?.len();
            Some(Unfinished { url: note.url, done, total: note.total })
        });
        found.collect()
    }

    /// Everything the index remembers.
    fn origins(&self) -> Vec<Origin> {
        let read = |(key, path): (String, PathBuf)| {
            let found = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
            Some(Origin { found, is_address: key.starts_with(DOWNLOAD) })
        };
        let mut origins: Vec<Origin> =
            self.index_files(".json").into_iter().filter_map(read).collect();
        origins.sort_by(|a, b| a.found.source.cmp(&b.found.source));
        origins
    }

    /// Forgets what gave this base, or only what of it has the name `source`;
    /// sources that have the name are not found in the cache any more.
    pub(super) fn forget(&self, sha256: &str, source: Option<&str>) -> io::Result<()> {
        for (_, path) in self.index_files(".json") {
            let found: Option<Remembered> =
                fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let is_meant = |found: &Remembered| {
                found.sha256 == sha256 && source.is_none_or(|source| found.source == source)
            };
            if found.as_ref().is_some_and(is_meant) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Key and path of the index files with this suffix.
    fn index_files(&self, suffix: &str) -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(self.dir.join("index")).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.strip_suffix(suffix)?.to_owned(), entry.path()))
        });
        named.collect()
    }
}

/// The kind of keys by which files are remembered whatever their names are.
pub const DOWNLOAD: &str = "download";

/// What once gave a base.
struct Origin {
    found: Remembered,
    /// It is remembered as a file from somewhere, not by what the user said.
    is_address: bool,
}

/// The base image in this file, if it is one.
fn base(path: &Path, origins: &[Origin]) -> io::Result<Option<Base>> {
    let Some((sha256, format)) = parse_name(path) else { return Ok(None) };
    let found = fs::metadata(path)?;
    let of_this = |o: &&Origin| o.found.sha256 == sha256 && o.found.format == format;
    let origins: Vec<&Origin> = origins.iter().filter(of_this).collect();
    // An address is the name only of what has no other.
    let has_name = origins.iter().any(|origin| !origin.is_address);
    let origins = origins.into_iter().filter(|origin| !(has_name && origin.is_address));
    let origins = origins.map(|origin| origin.found.clone()).collect();
    Ok(found.is_file().then(|| Base {
        sha256,
        format,
        path: path.to_owned(),
        length: found.len(),
        allocated: host::allocated_bytes(&found),
        created: found.modified().ok(),
        origins,
    }))
}

fn parse_name(path: &Path) -> Option<(String, DiskFormat)> {
    let (digest, suffix) = path.file_name()?.to_str()?.split_once('.')?;
    let format = [DiskFormat::Qcow2, DiskFormat::Raw].into_iter().find(|f| f.name() == suffix)?;
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (digest.len() == 64 && digest.bytes().all(lower_hex)).then(|| (digest.to_owned(), format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_with_a_format_name_bases() {
        let digest = "0a".repeat(32);
        let parsed = |name: String| parse_name(Path::new(&name));
        assert_eq!(parsed(format!("/c/{digest}.raw")), Some((digest.clone(), DiskFormat::Raw)));
        for other in [format!("{digest}.qcow2.tmp"), digest.clone(), "x.qcow2".into()] {
            assert_eq!(parsed(other), None);
        }
        assert_eq!(parsed(format!("{}.raw", digest.to_uppercase())), None);
    }
}
