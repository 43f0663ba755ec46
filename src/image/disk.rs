//! Disks of machines: qcow2 overlays on a base image that is never written.
//!
//! The base is recorded by absolute path together with its format, so that
//! QEMU neither guesses the format nor depends on where the overlay lies.

use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use imago::file::File as Storage;
use imago::format::PreallocateMode;
use imago::format::drivers::FormatDriverInstance;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatCreateBuilder, FormatDriverBuilder};

use crate::host;
use crate::machine::config::DiskFormat;

use super::error::ImageError;
use super::qcow2;

/// Longest name of a backing file that QEMU reads (docs/interop/qcow2.txt).
const BACKING_NAME_MAX: usize = 1023;

/// Creates a machine's disk of `bytes` on top of `base`. Only its owner may
/// read it. `overlay` must not exist; after an error it does not either.
pub fn create_overlay(
    overlay: &Path,
    base: &Path,
    format: DiskFormat,
    bytes: u64,
) -> Result<(), ImageError> {
    let needed = virtual_size(base, format)?;
    if bytes < needed {
        return Err(ImageError::TooSmall { asked: bytes, needed });
    }
    let failed = |source| ImageError::Overlay { path: overlay.to_owned(), source };
    let name = backing_name(base).map_err(failed)?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(overlay);
    let file = file.map_err(failed)?;
    let written = host::restrict_to_owner(overlay)
        .and_then(|()| wait(format_overlay(file.try_clone()?, name, format, bytes)))
        .and_then(|()| file.sync_all());
    written.map_err(|source| {
        let _ = fs::remove_file(overlay);
        failed(source)
    })
}

/// Makes the disk of a stopped machine larger; a smaller size is refused.
pub fn grow(overlay: &Path, bytes: u64) -> Result<(), ImageError> {
    let now = virtual_size(overlay, DiskFormat::Qcow2)?;
    if bytes < now {
        return Err(ImageError::TooSmall { asked: bytes, needed: now });
    }
    let file = OpenOptions::new().read(true).write(true).open(overlay);
    file.and_then(|file| wait(resize(file, bytes)))
        .map_err(|source| ImageError::Overlay { path: overlay.to_owned(), source })
}

/// Makes `base` the backing file of an overlay that may come from another
/// host; one that would make QEMU open yet other files is refused. The name is
/// written to the end of the header's cluster, which nothing else uses
/// (docs/interop/qcow2.txt: it lies anywhere in the first cluster).
pub fn rebase(overlay: &Path, base: &Path) -> Result<(), ImageError> {
    let failed = |source| ImageError::Overlay { path: overlay.to_owned(), source };
    let name = backing_name(base).map_err(failed)?;
    let mut file = OpenOptions::new().read(true).write(true).open(overlay).map_err(failed)?;
    let header = qcow2::Header::read(&mut file).map_err(failed)?;
    let checked = header.and_then(|header| header.check_overlay().map(|()| header));
    let header = checked.map_err(|reason| reason.about(&overlay.display().to_string()))?;
    let at = header.cluster() - (BACKING_NAME_MAX as u64 + 1);
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let mut write = |offset: u64, bytes: &[u8]| {
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    };
    write(at, name.as_bytes())
        .and_then(|()| write(8, &at.to_be_bytes()))
        .and_then(|()| write(16, &length.to_be_bytes()))
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

/// The size of the disk that a guest sees, in bytes.
pub fn virtual_size(image: &Path, format: DiskFormat) -> Result<u64, ImageError> {
    let read = |source| ImageError::Read { path: image.to_owned(), source };
    match format {
        DiskFormat::Raw => Ok(fs::metadata(image).map_err(read)?.len()),
        DiskFormat::Qcow2 => {
            let mut file = File::open(image).map_err(read)?;
            let header = qcow2::Header::read(&mut file).map_err(read)?;
            let header = header.map_err(|reason| reason.about(&image.display().to_string()))?;
            Ok(header.virtual_size)
        }
    }
}

fn backing_name(base: &Path) -> io::Result<String> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_owned());
    let name = base.to_str().ok_or_else(|| invalid("the cache's path is not valid UTF-8"))?;
    if !base.is_absolute() {
        return Err(invalid("the base image's path is not absolute"));
    }
    if name.len() > BACKING_NAME_MAX {
        return Err(invalid("the cache's path is too long for a backing file"));
    }
    Ok(name.to_owned())
}

pub(super) async fn format_overlay(
    file: File,
    name: String,
    format: DiskFormat,
    bytes: u64,
) -> io::Result<()> {
    Qcow2::<Storage>::create_builder(Storage::try_from(file)?)
        .backing(name, format.name().to_owned())
        .size(bytes)
        .create()
        .await
}

async fn resize(file: File, bytes: u64) -> io::Result<()> {
    // The backing file is not opened: growing moves no data.
    let disk = Qcow2::<Storage>::builder(Storage::try_from(file)?)
        .backing(None)
        .write(true)
        .open(DenyImplicitOpenGate::default())
        .await?;
    disk.resize_grow(bytes, PreallocateMode::None).await?;
    disk.flush().await
}

/// imago is async; these calls are short and stay on this thread.
pub(super) fn wait(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// What `qemu-img` says, or `None` (visibly) where it is not installed.
    fn qemu_img(args: &[&str]) -> Option<String> {
        let Ok(out) = Command::new("qemu-img").args(args).output() else {
            eprintln!("skipped: qemu-img is not installed");
            return None;
        };
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "qemu-img {args:?}: {errors}");
        Some(String::from_utf8(out.stdout).unwrap())
    }

    fn raw_base(dir: &Path, bytes: u64) -> std::path::PathBuf {
        let base = dir.join("base.raw");
        File::create(&base).unwrap().set_len(bytes).unwrap();
        base
    }

    #[test]
    fn qemu_finds_size_backing_file_and_format() {
        let dir = tempfile::tempdir().unwrap();
        let (base, overlay) = (raw_base(dir.path(), 8 * MIB), dir.path().join("disk.qcow2"));
        create_overlay(&overlay, &base, DiskFormat::Raw, 12 << 30).unwrap();
        let path = overlay.to_str().unwrap();
        let Some(json) = qemu_img(&["info", "--output=json", path]) else { return };
        let info: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(info["virtual-size"], 12_u64 << 30);
        assert_eq!(info["backing-filename"], base.to_str().unwrap());
        assert_eq!(info["backing-filename-format"], "raw");
        qemu_img(&["check", path]);
        assert_eq!(fs::metadata(&base).unwrap().len(), 8 * MIB);
    }

    #[test]
    fn a_grown_disk_is_sound_and_has_the_new_size() {
        let dir = tempfile::tempdir().unwrap();
        let (base, overlay) = (raw_base(dir.path(), MIB), dir.path().join("disk.qcow2"));
        create_overlay(&overlay, &base, DiskFormat::Raw, MIB).unwrap();
        grow(&overlay, 100 << 30).unwrap();
        assert_eq!(virtual_size(&overlay, DiskFormat::Qcow2).unwrap(), 100 << 30);
        assert!(matches!(grow(&overlay, MIB), Err(ImageError::TooSmall { .. })));
        qemu_img(&["check", overlay.to_str().unwrap()]);
    }

    #[test]
    fn a_disk_smaller_than_its_base_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (base, overlay) = (raw_base(dir.path(), 2 * MIB), dir.path().join("disk.qcow2"));
        let error = create_overlay(&overlay, &base, DiskFormat::Raw, MIB).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a disk of 1.0 MiB is too small for the image, which has 2.0 MiB"
        );
        assert_eq!(error.hint().unwrap(), "Use --disk-size 1 or more");
        assert!(!overlay.exists());
    }

    #[test]
    fn an_existing_disk_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (base, overlay) = (raw_base(dir.path(), 0), dir.path().join("disk.qcow2"));
        fs::write(&overlay, b"precious").unwrap();
        assert!(create_overlay(&overlay, &base, DiskFormat::Raw, MIB).is_err());
        assert_eq!(fs::read(&overlay).unwrap(), b"precious");
    }

    #[test]
    fn an_overlay_finds_a_base_that_has_moved() {
        let dir = tempfile::tempdir().unwrap();
        let (base, overlay) = (raw_base(dir.path(), MIB), dir.path().join("disk.qcow2"));
        create_overlay(&overlay, &base, DiskFormat::Raw, MIB).unwrap();
        let moved = dir.path().join(format!("{}.raw", "elsewhere".repeat(20)));
        fs::rename(&base, &moved).unwrap();
        rebase(&overlay, &moved).unwrap();
        rebase(&overlay, &moved).unwrap();
        grow(&overlay, 2 * MIB).unwrap();
        let path = overlay.to_str().unwrap();
        let Some(json) = qemu_img(&["info", "--output=json", path]) else { return };
        let info: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(info["backing-filename"], moved.to_str().unwrap());
        assert_eq!(info["backing-filename-format"], "raw");
        qemu_img(&["check", path]);
        assert!(rebase(&moved, &base).is_err(), "no qcow2 at all");
    }

    #[test]
    fn an_empty_base_is_possible() {
        let dir = tempfile::tempdir().unwrap();
        let (base, overlay) = (raw_base(dir.path(), 0), dir.path().join("disk.qcow2"));
        create_overlay(&overlay, &base, DiskFormat::Raw, MIB).unwrap();
        qemu_img(&["check", overlay.to_str().unwrap()]);
    }
}
