//! Images that are files of this host.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::cache::{Key, Remembered};
use super::error::ImageError;
use super::ingest::{Expected, Incoming, ingest, last_part};
use super::prepare::Job;

/// The disk of `/dev/null`: no sectors at all.
pub fn empty(job: &Job<'_>) -> Result<Remembered, ImageError> {
    let key = Key::new("empty", &[]);
    job.cache.obtain(&key, "an empty disk", job, || {
        let incoming = Incoming {
            reader: Box::new(io::empty()),
            source: "/dev/null",
            activity: "Making an empty disk".to_owned(),
            length: Some(0),
            expected: Expected::default(),
        };
        ingest(job, &key, incoming)
    })
}

/// Copies a file into the cache, unless it has been and did not change since.
pub fn file(job: &Job<'_>, path: &Path, sha256: Option<&str>) -> Result<Remembered, ImageError> {
    let unreadable = |source| ImageError::Read { path: path.to_owned(), source };
    let before = fs::metadata(path).map_err(unreadable)?;
    let name = path.display().to_string();
    let key = Key::new("file", &[&name, &identity(&before)]);
    copied(job, &key, path, sha256)
}

/// The same, remembered by a key of the caller's.
pub fn copied(
    job: &Job<'_>,
    key: &Key,
    path: &Path,
    sha256: Option<&str>,
) -> Result<Remembered, ImageError> {
    let unreadable = |source| ImageError::Read { path: path.to_owned(), source };
    let before = fs::metadata(path).map_err(unreadable)?;
    check(path, &before)?;
    let name = path.display().to_string();
    let mut found = job.cache.obtain(key, &name, job, || {
        let opened = File::open(path).map_err(unreadable)?;
        let incoming = Incoming {
            reader: Box::new(opened),
            source: &name,
            activity: format!("Copying {}", last_part(&name)),
            length: Some(before.len()),
            expected: Expected { source_sha256: sha256, ..Expected::default() },
        };
        let found = ingest(job, key, incoming)?;
        unchanged(path, &before)?;
        Ok(found)
    })?;
    // The copy may have been made when no digest was given.
    found.verified.sha256 = sha256.is_some();
    match sha256 {
        Some(expected) if expected != found.source_sha256 => Err(ImageError::Mismatch {
            what: name,
            expected: expected.to_owned(),
            found: found.source_sha256,
        }),
        _ => Ok(found),
    }
}

fn check(path: &Path, found: &Metadata) -> Result<(), ImageError> {
    let found = match found {
        found if found.is_dir() => "a directory",
        found if !found.is_file() => "a device or a pipe",
        found if found.len() == 0 => "an empty file",
        _ => return Ok(()),
    };
    Err(ImageError::NotAFile { path: path.to_owned(), found })
}

fn unchanged(path: &Path, before: &Metadata) -> Result<(), ImageError> {
    let after = fs::metadata(path).map(|after| identity(&after));
    if after.is_ok_and(|after| after == identity(before)) {
        return Ok(());
    }
    let reason = "it was changed while it was read".to_owned();
    Err(ImageError::Damaged { what: path.display().to_string(), reason })
}

/// Differs whenever the content may differ: size, time of change, inode.
fn identity(found: &Metadata) -> String {
    let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = modified.map_or(0, |time| time.as_nanos());
    format!("{} {nanoseconds} {}", found.len(), inode(found))
}

#[cfg(unix)]
fn inode(found: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(found)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}
