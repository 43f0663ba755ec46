//! The chain of a machine's disk: the overlay that is written, below it layers
//! that never are again, and at the end the base image.
//!
//! ```text
//! disk.qcow2 -> layer-9.qcow2 -> layer-4.qcow2 -> base
//! ```
//!
//! All lie in one directory and know each other by bare names, so that they may
//! be moved, linked and copied together. A backing file of any other name is the
//! base, whose place the caller knows better.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use imago::file::File as Storage;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Mapping};

use super::disk::{format_overlay, virtual_size, wait};
use super::error::ImageError;
use crate::fs::sync_dir;
use crate::host;
use crate::machine::config::DiskFormat;

const PREFIX: &str = "layer-";
const SUFFIX: &str = ".qcow2";

/// A chain that is longer goes in a circle, or makes reading slow.
pub const DEEPEST: usize = 64;

/// Copied at once, in bytes.
const CHUNK: usize = 1 << 20;

/// The name of the layer with this number.
pub fn layer_name(number: u64) -> String {
    format!("{PREFIX}{number}{SUFFIX}")
}

/// The number in the name of a layer; `None`: it is none.
pub fn layer_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| plain)?;
    // One name for each: no zeros before it.
    (layer_name(number) == name).then_some(number)
}

/// All layers in the directory, whether a chain has them or not.
pub fn layers_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| layer_number(name).is_some()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The layers below `disk`, the next one first.
pub fn chain(disk: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let mut found: Vec<PathBuf> = Vec::new();
    while let Some(next) = next_layer(found.last().map_or(disk, PathBuf::as_path))? {
        if found.len() >= DEEPEST {
            return Err(ImageError::Damaged {
                what: disk.display().to_string(),
                reason: format!("there are more than {DEEPEST} layers below it"),
            });
        }
        found.push(next);
    }
    Ok(found)
}

/// The layer right below a disk or another layer, whether it is there or not.
pub fn next_layer(disk: &Path) -> Result<Option<PathBuf>, ImageError> {
    let name =
        backing(disk).map_err(|source| ImageError::Read { path: disk.to_owned(), source })?;
    let layer = name.filter(|name| layer_number(name).is_some());
    Ok(layer.map(|name| disk.with_file_name(name)))
}

/// Refuses what a layer from another host must not be.
pub fn check_layer(layer: &Path) -> Result<(), ImageError> {
    let read = |source| ImageError::Read { path: layer.to_owned(), source };
    let mut file = File::open(layer).map_err(read)?;
    let header = super::qcow2::Header::read(&mut file).map_err(read)?;
    let checked = header.and_then(|header| header.check_overlay());
    checked.map_err(|reason| reason.about(&layer.display().to_string()))
}

/// The name of the backing file as it stands in the header.
fn backing(path: &Path) -> io::Result<Option<String>> {
    let mut file = File::open(path)?;
    let mut header = [0; 20];
    file.read_exact(&mut header)?;
    if !header.starts_with(super::qcow2::MAGIC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no qcow2 file"));
    }
    let [.., a, b, c, d] = header;
    let length = u32::from_be_bytes([a, b, c, d]).min(1023);
    let offset = u64::from_be_bytes(header[8..16].try_into().unwrap_or_default());
    if offset == 0 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut name = Vec::new();
    file.take(length.into()).read_to_end(&mut name)?;
    Ok(String::from_utf8(name).ok())
}

/// Makes `new`, an empty overlay of `bytes` (`None`: as large as the layer) on a
/// layer in the same directory. What is there of an earlier attempt goes.
pub fn create_on_layer(new: &Path, layer: &Path, bytes: Option<u64>) -> Result<(), ImageError> {
    let failed = |source| ImageError::Overlay { path: new.to_owned(), source };
    let size = virtual_size(layer, DiskFormat::Qcow2)?;
    let name = layer.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    write_new(new, name, DiskFormat::Qcow2, bytes.unwrap_or(size).max(size)).map_err(failed)
}

fn write_new(new: &Path, backing: String, format: DiskFormat, bytes: u64) -> io::Result<()> {
    match fs::remove_file(new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(new)?;
    host::restrict_to_owner(new)?;
    wait(format_overlay(file.try_clone()?, backing, format, bytes))?;
    file.sync_all()
}

/// Gives a finished file its name, for good.
pub fn put(new: &Path, at: &Path) -> Result<(), ImageError> {
    let failed = |source| ImageError::Overlay { path: at.to_owned(), source };
    fs::rename(new, at).map_err(failed)?;
    sync_dir(at.parent().unwrap_or(at)).map_err(failed)
}

/// Makes `upper` what it is together with the layer right below it, which it no
/// longer needs then. The disk that it shows stays the same at each moment: the
/// merged file takes the place of the old one at once. Nobody may have it open.
pub fn merge_down(upper: &Path, base: DiskFormat) -> Result<(), ImageError> {
    let failed = |source| ImageError::Overlay { path: upper.to_owned(), source };
    let Some(lower) = chain(upper)?.into_iter().next() else { return Ok(()) };
    let new = upper.with_extension("merged");
    let size = virtual_size(upper, DiskFormat::Qcow2)?;
    let below = backing(&lower).map_err(failed)?.unwrap_or_default();
    let format = if layer_number(&below).is_some() { DiskFormat::Qcow2 } else { base };
    write_new(&new, below, format, size)
        .and_then(|()| wait(copy(&new, upper, &lower)))
        .and_then(|()| File::options().write(true).open(&new)?.sync_all())
        .map_err(|source| {
            let _ = fs::remove_file(&new);
            failed(source)
        })?;
    put(&new, upper)
}

type Disk = FormatAccess<Storage>;

async fn open(path: &Path, writable: bool) -> io::Result<Disk> {
    let file = OpenOptions::new().read(true).write(writable).open(path)?;
    let builder = Qcow2::<Storage>::builder(Storage::try_from(file)?);
    let disk = builder.backing(None).write(writable).open(DenyImplicitOpenGate::default()).await?;
    Ok(FormatAccess::new(disk))
}

/// What a range of a disk is in one of its layers.
enum Range {
    Data,
    Zero,
    /// What the layer below says.
    Open,
}

async fn range(disk: &Disk, at: u64, most: u64) -> io::Result<(Range, u64)> {
    // A layer may be shorter than the one above.
    if at >= disk.size() {
        return Ok((Range::Open, most));
    }
    let (mapping, length) = disk.get_mapping(at, most.min(disk.size() - at)).await?;
    Ok(match mapping {
        Mapping::Zero { explicit: false, .. } => (Range::Open, length),
        Mapping::Zero { .. } => (Range::Zero, length),
        _ => (Range::Data, length),
    })
}

async fn copy(new: &Path, upper: &Path, lower: &Path) -> io::Result<()> {
    let (new, upper, lower) =
        (open(new, true).await?, open(upper, false).await?, open(lower, false).await?);
    let (mut at, size) = (0, upper.size());
    while at < size {
        let (above, length) = range(&upper, at, size - at).await?;
        let (from, what, length) = match above {
            Range::Open => {
                let (below, length) = range(&lower, at, length).await?;
                (&lower, below, length)
            }
            decided => (&upper, decided, length),
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match what {
            Range::Open => {}
            Range::Zero => new.write_zeroes(at, length).await?,
            Range::Data => copy_data(from, &new, at, length).await?,
        }
        at += length;
    }
    new.flush().await?;
    new.sync().await
}

async fn copy_data(from: &Disk, to: &Disk, at: u64, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    while done < length {
        let count = usize::try_from(length - done).map_or(CHUNK, |left| left.min(CHUNK));
        from.read(&mut buffer[..count], at + done).await?;
        to.write(&buffer[..count], at + done).await?;
        done += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CLUSTER: u64 = 64 << 10;

    /// A base of ones, and a disk of 40 clusters upon it.
    fn disk() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base.raw");
        fs::write(&base, vec![1; 30 * 65536]).unwrap();
        let disk = dir.path().join("disk.qcow2");
        let size = 40 * CLUSTER;
        super::super::disk::create_overlay(&disk, &base, DiskFormat::Raw, size).unwrap();
        (dir, disk)
    }

    /// Writes clusters: a byte each, none for zeros.
    fn write(disk: &Path, clusters: &[(u64, Option<u8>)]) {
        let work = async {
            let disk = open(disk, true).await?;
            for (at, byte) in clusters {
                match byte {
                    Some(byte) => disk.write(&vec![*byte; 65536][..], at * CLUSTER).await?,
                    None => disk.write_zeroes(at * CLUSTER, CLUSTER).await?,
                }
            }
            disk.flush().await
        };
        wait(work).unwrap();
    }

    fn freeze(disk: &Path, number: u64) {
        let layer = disk.with_file_name(layer_name(number));
        fs::hard_link(disk, &layer).unwrap();
        let new = disk.with_extension("new");
        create_on_layer(&new, &layer, None).unwrap();
        put(&new, disk).unwrap();
    }

    /// What a guest would see, a byte a cluster; `None` (visibly) without qemu-img.
    fn seen(disk: &Path) -> Option<Vec<u8>> {
        let raw = disk.with_extension("raw");
        let mut command = Command::new("qemu-img");
        let Ok(out) = command.args(["convert", "-O", "raw"]).args([disk, &raw]).output() else {
            eprintln!("skipped: qemu-img is not installed");
            return None;
        };
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let checked = Command::new("qemu-img").arg("check").arg(disk).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        let bytes = fs::read(raw).unwrap();
        let clusters = bytes.chunks(65536);
        for cluster in clusters.clone() {
            assert!(cluster.iter().all(|byte| *byte == cluster[0]));
        }
        Some(clusters.map(|cluster| cluster[0]).collect())
    }

    #[test]
    fn layers_have_one_name_each() {
        assert_eq!(layer_number(&layer_name(17)), Some(17));
        for other in ["layer-.qcow2", "layer-017.qcow2", "layer-+1.qcow2", "layer-1.raw", "x"] {
            assert_eq!(layer_number(other), None, "{other}");
        }
    }

    #[test]
    fn a_chain_is_found_by_the_headers() {
        let (dir, disk) = disk();
        assert_eq!(chain(&disk).unwrap(), Vec::<PathBuf>::new());
        freeze(&disk, 1);
        freeze(&disk, 2);
        let layers = [2, 1].map(|number| dir.path().join(layer_name(number)));
        assert_eq!(chain(&disk).unwrap(), layers);
        assert_eq!(virtual_size(&disk, DiskFormat::Qcow2).unwrap(), 40 * CLUSTER);
        fs::remove_file(&layers[1]).unwrap();
        let error = chain(&disk).unwrap_err().to_string();
        assert!(error.contains("layer-1.qcow2"), "{error}");
        // In a circle.
        fs::copy(&layers[0], &layers[1]).unwrap();
        create_on_layer(&dir.path().join("layer-1.qcow2"), &layers[0], None).unwrap();
        create_on_layer(&layers[0], &layers[1], None).unwrap();
        assert!(chain(&disk).unwrap_err().to_string().contains("more than 64"));
    }

    #[test]
    fn two_layers_that_become_one_show_the_same() {
        let (dir, disk) = disk();
        write(&disk, &[(0, Some(2)), (5, Some(2)), (6, Some(2)), (35, Some(2)), (7, None)]);
        freeze(&disk, 1);
        write(&disk, &[(1, Some(3)), (5, Some(3)), (6, None), (36, Some(3)), (39, Some(3))]);
        freeze(&disk, 2);
        write(&disk, &[(1, Some(4)), (8, None)]);
        let Some(before) = seen(&disk) else { return };
        assert_eq!(before[..9], [2, 4, 1, 1, 1, 3, 0, 0, 0]);
        let (upper, lower) = (dir.path().join("layer-2.qcow2"), dir.path().join("layer-1.qcow2"));
        // A layer into a layer on the base, then the disk itself.
        for (merged, gone) in [(&upper, &lower), (&disk, &upper)] {
            merge_down(merged, DiskFormat::Raw).unwrap();
            fs::remove_file(gone).unwrap();
            assert_eq!(seen(&disk).as_ref(), Some(&before));
        }
        assert_eq!(chain(&disk).unwrap(), Vec::<PathBuf>::new());
        merge_down(&disk, DiskFormat::Raw).unwrap();
        assert_eq!(seen(&disk), Some(before));
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 3, "base, disk and what was seen");
    }
}
