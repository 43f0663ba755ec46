//! A stopped machine becomes one file.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

use super::manifest::{Entry, Manifest};
use super::{BASE, CONFIG, IGNITION, MANIFEST, data_name};
use crate::app::Context;
use crate::app::new_file::NewFile;
use crate::app::rename::stopped;
use crate::image::{Cache, chain};
use crate::machine::event::{Event, Progress};
use crate::machine::name::MachineName;

/// zstd's own default: disks are mostly text and programs.
const LEVEL: i32 = 3;

/// Bytes between two events.
const STRIDE: u64 = 1 << 20;

/// Writes the machine and its base image to `file`, which must not exist and
/// does not after an error.
pub fn export(
    context: &Context,
    name: &MachineName,
    file: &Path,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let store = &context.store;
    store.load(name)?;
    let _lock = store.lock(name)?;
    let config = store.load(name)?;
    stopped(context, name, "exported")?;
    let new = NewFile::create(file)?;
    let paths = store.paths(name);
    let base = Cache::open(&store.dirs().cache)?.base(&config.image)?;
    let mut files = vec![(CONFIG.to_owned(), paths.config())];
    if paths.ignition().exists() {
        files.push((IGNITION.to_owned(), paths.ignition()));
    }
    let there = paths.portable().into_iter().filter(|path| path.exists());
    files.extend(there.map(|path| (data_name(&path), path)));
    // Its snapshots stay here.
    files.extend(chain(&paths.overlay())?.into_iter().map(|path| (data_name(&path), path)));
    files.push((BASE.to_owned(), base));
    let written = write(&files, new.file(), progress);
    written.with_context(|| format!("writing \"{}\"", file.display()))?;
    new.keep()
}

fn write(files: &[(String, PathBuf)], to: &File, progress: &dyn Progress) -> anyhow::Result<()> {
    let total = files.iter().filter_map(|(_, path)| path.metadata().ok()).map(|m| m.len()).sum();
    let mut told = Told { progress, total, done: 0 };
    let encoder = zstd::Encoder::new(BufWriter::new(to), LEVEL)?;
    let mut tar = Builder::new(encoder);
    let mut entries = Vec::new();
    for (name, path) in files {
        let entry = append(&mut tar, name, path, &mut told);
        entries.push(entry.with_context(|| format!("reading \"{}\"", path.display()))?);
    }
    let manifest = serde_json::to_vec_pretty(&Manifest::new(entries))?;
    tar.append_data(&mut header(manifest.len() as u64), MANIFEST, manifest.as_slice())?;
    tar.into_inner()?.finish()?.flush()?;
    Ok(())
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header
}

fn append<W: Write>(
    tar: &mut Builder<W>,
    name: &str,
    path: &Path,
    told: &mut Told<'_>,
) -> io::Result<Entry> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut reader = Hashing { file: file.take(size), digest: Sha256::new(), told };
    tar.append_data(&mut header(size), name, &mut reader)?;
    let sha256 = reader.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Entry { name: name.to_owned(), size, sha256 })
}

struct Told<'a> {
    progress: &'a dyn Progress,
    total: u64,
    done: u64,
}

struct Hashing<'a, 'b> {
    file: io::Take<File>,
    digest: Sha256,
    told: &'a mut Told<'b>,
}

impl Read for Hashing<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.digest.update(&buffer[..count]);
        let before = self.told.done / STRIDE;
        self.told.done += count as u64;
        let Told { progress, total, done } = *self.told;
        if done / STRIDE > before || (done == total && count > 0) {
            let what = "exporting".to_owned();
            progress.event(&Event::Bytes { what, done, total: Some(total) });
        }
        Ok(count)
    }
}
