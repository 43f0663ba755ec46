//! What a download has brought so far, kept for the next try: the bytes as
//! they came and a note of which file they are the beginning of.
//!
//! Kept bytes are read again through the same hashes as new ones, so nothing
//! is trusted for having been here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use super::cache::{Cache, Key};
use super::error::ImageError;
use super::fetch::{Body, Known};
use super::ingest::unwritable;
use crate::fs::{Access, write_atomic};
use crate::host;

pub struct Saved<'a> {
    cache: &'a Cache,
    key: &'a Key,
    /// The bytes.
    path: PathBuf,
    /// Which file they are of.
    note_path: PathBuf,
    known: Option<Known>,
    url: String,
}

/// Which file the bytes are of, in a file of its own.
#[derive(Serialize, Deserialize)]
pub struct Note {
    pub url: String,
    validator: Option<String>,
    pub total: Option<u64>,
}

impl<'a> Saved<'a> {
    /// Looks for what an earlier try from the same URL has left.
    pub fn find(cache: &'a Cache, key: &'a Key, url: &Url) -> Self {
        let (path, note_path) = cache.download(key);
        let mut saved = Self { cache, key, path, note_path, known: None, url: url.to_string() };
        saved.known = saved.read_note();
        saved
    }

    /// What is known of the file; `None` when nothing was kept.
    pub fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// All bytes, when only the end of the work was missing.
    pub fn whole(&self) -> Option<File> {
        let known = self.known.as_ref()?;
        File::open(&self.path).ok().filter(|_| known.total == Some(known.length))
    }

    fn read_note(&self) -> Option<Known> {
        let note: Note = serde_json::from_slice(&fs::read(&self.note_path).ok()?).ok()?;
        let length = fs::metadata(&self.path).ok()?.len();
        let fits = note.url == self.url && note.total.is_none_or(|total| length <= total);
        (fits && length > 0).then_some(Known {
            length,
            validator: note.validator,
            total: note.total,
        })
    }

    /// The whole file: what was kept, if `body` goes on from there, then what
    /// `body` brings, which is kept too.
    pub fn with<'r>(&'r self, body: Body<'r>) -> Result<impl Read + Send + 'r, ImageError> {
        let failed = |e| unwritable(self.cache.dir(), e, 0);
        let start = body.start();
        self.check_space(start, body.total())?;
        let note = Note { url: self.url.clone(), validator: body.validator(), total: body.total() };
        let note = serde_json::to_vec(&note).map_err(|e| failed(e.into()))?;
        write_atomic(&self.note_path, &note, Access::Default).map_err(failed)?;
        let to = OpenOptions::new().append(true).create(true).open(&self.path).map_err(failed)?;
        to.set_len(start).map_err(failed)?;
        let kept = File::open(&self.path).map_err(failed)?.take(start);
        Ok(kept.chain(Keeping { from: body, to, cache: self.cache }))
    }

    /// Fails at once where not even the file as it comes can fit.
    fn check_space(&self, start: u64, total: Option<u64>) -> Result<(), ImageError> {
        let dir = self.cache.dir();
        // What a killed program kept beyond `start` is about to be cut off.
        let stale = fs::metadata(&self.path).map_or(0, |found| found.len().saturating_sub(start));
        let free = host::disk_space(dir).map_or(u64::MAX, |(free, _)| free.saturating_add(stale));
        match total.map(|total| total.saturating_sub(start)) {
            Some(needed) if needed > free => Err(unwritable(
                dir,
                io::ErrorKind::StorageFull.into(),
                needed.saturating_sub(stale),
            )),
            _ => Ok(()),
        }
    }

    /// Forgets all.
    pub fn remove(&self) {
        self.cache.forget_download(self.key);
    }

    /// Forgets it if there is nothing to go on from.
    pub fn remove_if_empty(&self) {
        if self.read_note().is_none() {
            self.remove();
        }
    }
}

/// Writes what is read through it to a file.
struct Keeping<'a, R> {
    from: R,
    to: File,
    cache: &'a Cache,
}

impl<R: Read> Read for Keeping<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.to.write_all(&buffer[..n]).map_err(|e| unwritable(self.cache.dir(), e, 0))?;
        Ok(n)
    }
}
