//! Kernel, initramfs and arguments that a base image lets the host start itself,
//! without BIOS boot code and boot loader, which take a third of a boot that is
//! translated. Owns how they lie in an image and where the cache keeps them.
//!
//! ```text
//! EFI system partition (GPT, FAT)      <cache>/boot/SHA256/
//!   nsvm/arguments   one line     ->     arguments
//!   nsvm/kernel                          kernel (of a bzImage what it packs)
//!   nsvm/initrd                          initrd (unpacked as well)
//! ```
//!
//! Only an image that says so by `arguments` is started like that: what a guest of
//! any other image boots is its boot loader's to say. A base never changes, so
//! neither does what is unpacked of it.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use fatfs::{FileSystem, FsOptions};
use gptman::GPT;
use imago::file::File as Storage;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder};

use super::cache::{Cache, is_closed};
use super::error::ImageError;
use super::vmlinux;
use crate::machine::config::{DiskFormat, ImagePin};

/// C12A7328-F81F-11D2-BA4B-00A0C93EC93B (UEFI specification, table 5.7), as it is
/// on a disk.
const EFI_SYSTEM: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];

/// Primary header and 128 entries take 17 KiB (UEFI specification, 5.3).
const TABLE: u64 = 64 << 10;

const SECTOR: u64 = 512;

/// Partitions of distributions have 100 MiB and more and are not even read; ours
/// has 20.
const PARTITION_MAX: u64 = 64 << 20;

/// A kernel takes 2048 bytes of them (COMMAND_LINE_SIZE on x86), and the host adds
/// its own.
const ARGUMENTS_MAX: usize = 1024;

/// What takes the place of a boot loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectBoot {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    /// Of the kernel, one line of words.
    pub arguments: String,
}

impl Cache {
    /// What the base of this pin lets the host start, unpacked when that is not
    /// done yet. `None`: it boots by its boot loader.
    pub fn direct_boot(&self, pin: &ImagePin) -> Result<Option<DirectBoot>, ImageError> {
        let dir = self.boot_dir(&pin.sha256);
        if let Some(found) = read(&dir) {
            return Ok(Some(found));
        }
        let base = self.base_path(pin);
        let unreadable = |source| ImageError::Read { path: base.clone(), source };
        let Some(parts) = parts(&base, pin.format).map_err(unreadable)? else { return Ok(None) };
        match keep(self.dir(), &dir, &parts) {
            Err(e) if is_closed(&e) => Ok(None),
            Err(e) => Err(ImageError::cache(self.dir(), e)),
            Ok(()) => Ok(read(&dir)),
        }
    }
}

/// What has been unpacked, if all of it is still there.
fn read(dir: &Path) -> Option<DirectBoot> {
    let arguments = fs::read_to_string(dir.join("arguments")).ok()?;
    let (kernel, initrd) = (dir.join("kernel"), dir.join("initrd"));
    (kernel.is_file() && initrd.is_file()).then_some(DirectBoot { kernel, initrd, arguments })
}

struct Parts {
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    arguments: String,
}

/// Whole or not at all: a directory gets its name when all is in it. Somebody else
/// may have been first.
fn keep(cache: &Path, dir: &Path, parts: &Parts) -> io::Result<()> {
    let all = dir.parent().unwrap_or(cache);
    fs::create_dir_all(all)?;
    let made = cache.join(format!(".tmp-{}", uuid::Uuid::new_v4().simple()));
    let kept = write(&made, parts).and_then(|()| match fs::rename(&made, dir) {
        Err(_) if dir.is_dir() => Ok(()),
        renamed => renamed.and_then(|()| crate::fs::sync_dir(all)),
    });
    let _ = fs::remove_dir_all(&made);
    kept
}

fn write(dir: &Path, parts: &Parts) -> io::Result<()> {
    fs::create_dir(dir)?;
    for (name, bytes) in [
        ("kernel", parts.kernel.as_slice()),
        ("initrd", &parts.initrd),
        ("arguments", parts.arguments.as_bytes()),
    ] {
        let mut file = File::create(dir.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    Ok(())
}

/// The three files, if the image has them. imago is async, and so is a supervisor
/// that asks: a thread has one runtime at most, so this has a thread of its own.
fn parts(base: &Path, format: DiskFormat) -> io::Result<Option<Parts>> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(look(base, format))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, run)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("reading it panicked")))
    })
}

async fn look(base: &Path, format: DiskFormat) -> io::Result<Option<Parts>> {
    let disk = open(base, format).await?;
    let table = read_at(&disk, 0, TABLE.min(disk.size())).await?;
    match esp(&table) {
        Some((at, length)) if at.saturating_add(length) <= disk.size() => {
            Ok(from_fat(read_at(&disk, at, length).await?))
        }
        _ => Ok(None),
    }
}

async fn open(base: &Path, format: DiskFormat) -> io::Result<FormatAccess<Storage>> {
    let storage = Storage::try_from(File::open(base)?)?;
    let gate = DenyImplicitOpenGate::default();
    Ok(match format {
        DiskFormat::Raw => FormatAccess::new(Raw::builder(storage).open(gate).await?),
        DiskFormat::Qcow2 => {
            let disk = Qcow2::<Storage>::builder(storage).backing(None);
            FormatAccess::new(disk.open(gate).await?)
        }
    })
}

async fn read_at(disk: &FormatAccess<Storage>, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    disk.read(bytes.as_mut_slice(), at).await?;
    Ok(bytes)
}

/// Where the first EFI system partition of our size lies, in bytes.
fn esp(table: &[u8]) -> Option<(u64, u64)> {
    let table = GPT::read_from(&mut Cursor::new(table), SECTOR).ok()?;
    table.iter().filter(|(_, entry)| entry.partition_type_guid == EFI_SYSTEM).find_map(
        |(_, entry)| {
            let sectors = entry.ending_lba.checked_sub(entry.starting_lba)?.checked_add(1)?;
            let length = sectors.checked_mul(SECTOR)?;
            let at = entry.starting_lba.checked_mul(SECTOR)?;
            (length <= PARTITION_MAX).then_some((at, length))
        },
    )
}

/// Anything that is not as expected means a boot by the boot loader.
fn from_fat(mut esp: Vec<u8>) -> Option<Parts> {
    let volume = FileSystem::new(Cursor::new(&mut esp), FsOptions::new()).ok()?;
    let ours = volume.root_dir().open_dir("nsvm").ok()?;
    let file = |name: &str| {
        let mut bytes = Vec::new();
        ours.open_file(name).ok()?.read_to_end(&mut bytes).ok()?;
        (!bytes.is_empty()).then_some(bytes)
    };
    let arguments = String::from_utf8(file("arguments")?).ok()?;
    let is_one_line = arguments.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    (is_one_line && arguments.len() <= ARGUMENTS_MAX).then_some(())?;
    let kernel = file("kernel")?;
    let kernel = vmlinux::of(&kernel).unwrap_or(kernel);
    Some(Parts { kernel, initrd: unpacked(file("initrd")?), arguments })
}

/// As it is in the guest's memory in the end: unpacking takes a translated guest 0.1 s,
/// and QEMU need not read it by the sector, for which it is packed. Whatever is no
/// zstd is the kernel's to know.
fn unpacked(initrd: Vec<u8>) -> Vec<u8> {
    let mut archive = Vec::new();
    let decoder = zstd::Decoder::with_buffer(initrd.as_slice());
    let read = decoder.and_then(|zstd| zstd.take(PARTITION_MAX + 1).read_to_end(&mut archive));
    if read.is_ok_and(|length| length as u64 <= PARTITION_MAX) { archive } else { initrd }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use fatfs::{FormatVolumeOptions, format_volume};
    use gptman::GPTPartitionEntry;

    use super::*;
    use crate::image::hashing::digest_of;
    use crate::machine::config::Arch;
    use crate::machine::verified::Verified;

    const MIB: u64 = 1 << 20;

    /// A disk whose EFI system partition of `mib` has these files in `nsvm/`.
    fn disk(mib: u64, files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut esp = vec![0; usize::try_from(mib * MIB).unwrap()];
        format_volume(Cursor::new(&mut esp), FormatVolumeOptions::new()).unwrap();
        {
            let volume = FileSystem::new(Cursor::new(&mut esp), FsOptions::new()).unwrap();
            let dir = volume.root_dir().create_dir("nsvm").unwrap();
            for (name, bytes) in files {
                dir.create_file(name).unwrap().write_all(bytes).unwrap();
            }
        }
        let mut disk = vec![0; usize::try_from((mib + 3) * MIB).unwrap()];
        let mut table = GPT::new_from(&mut Cursor::new(&mut disk), SECTOR, [7; 16]).unwrap();
        table[1] = GPTPartitionEntry {
            partition_type_guid: EFI_SYSTEM,
            unique_partition_guid: [9; 16],
            starting_lba: MIB / SECTOR,
            ending_lba: (mib + 1) * MIB / SECTOR - 1,
            attribute_bits: 0,
            partition_name: "ESP".into(),
        };
        table.write_into(&mut Cursor::new(&mut disk)).unwrap();
        let at = usize::try_from(MIB).unwrap();
        disk[at..at + esp.len()].copy_from_slice(&esp);
        disk
    }

    /// A cache with a base of these bytes.
    fn cached(dir: &Path, bytes: &[u8], format: DiskFormat, size: u64) -> (Cache, ImagePin) {
        let cache = Cache::open(dir).unwrap();
        let sha256 = digest_of(bytes);
        let pin = ImagePin {
            source: "x".into(),
            stream: None,
            release: None,
            arch: Arch::X86_64,
            sha256,
            format,
            virtual_size: size,
            verified: Verified::default(),
        };
        fs::write(cache.base_path(&pin), bytes).unwrap();
        (cache, pin)
    }

    const FILES: [(&str, &[u8]); 3] =
        [("kernel", &[1; 7000]), ("initrd", b"cpio"), ("arguments", b"quiet a=b")];

    #[test]
    fn a_base_that_says_so_is_unpacked_once() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = disk(4, &FILES);
        let (cache, pin) = cached(dir.path(), &bytes, DiskFormat::Raw, bytes.len() as u64);
        let boot = cache.direct_boot(&pin).unwrap().unwrap();
        assert_eq!(boot.arguments, "quiet a=b");
        assert_eq!(fs::read(&boot.kernel).unwrap(), [1; 7000]);
        assert_eq!(fs::read(&boot.initrd).unwrap(), b"cpio");
        // The base is not asked again.
        fs::remove_file(cache.base_path(&pin)).unwrap();
        assert_eq!(cache.direct_boot(&pin).unwrap(), Some(boot.clone()));
        // What somebody has taken a file of is no kernel to start.
        fs::write(cache.base_path(&pin), &bytes).unwrap();
        fs::remove_file(&boot.kernel).unwrap();
        assert_eq!(cache.direct_boot(&pin).unwrap(), None);
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with(".tmp-")));
    }

    #[test]
    fn an_initramfs_is_unpacked_where_that_is_known() {
        let packed = zstd::encode_all(&b"070701"[..], 1).unwrap();
        assert_eq!(unpacked(packed.clone()), b"070701");
        let cut = &packed[..packed.len() - 2];
        for other in [cut, b"070701", b""] {
            assert_eq!(unpacked(other.to_vec()), other);
        }
    }

    #[test]
    fn a_qcow2_is_looked_into_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let (raw, qcow2) = (dir.path().join("a.raw"), dir.path().join("a.qcow2"));
        let bytes = disk(4, &FILES);
        fs::write(&raw, &bytes).unwrap();
        let convert = ["convert", "-f", "raw", "-O", "qcow2"];
        let done = Command::new("qemu-img").args(convert).arg(&raw).arg(&qcow2).status();
        let Ok(done) = done else {
            eprintln!("skipped: qemu-img is not installed");
            return;
        };
        assert!(done.success());
        let packed = fs::read(&qcow2).unwrap();
        let (cache, pin) = cached(dir.path(), &packed, DiskFormat::Qcow2, bytes.len() as u64);
        let boot = cache.direct_boot(&pin).unwrap().unwrap();
        assert_eq!(fs::read(&boot.kernel).unwrap(), [1; 7000]);
    }

    #[test]
    fn all_else_boots_by_its_boot_loader() {
        let two_lines: [(&str, &[u8]); 3] = [FILES[0], FILES[1], ("arguments", b"quiet\na=b")];
        let long = vec![b'a'; ARGUMENTS_MAX + 1];
        let too_long: [(&str, &[u8]); 3] = [FILES[0], FILES[1], ("arguments", &long)];
        let cases = [
            ("no arguments", disk(4, &FILES[..2])),
            ("no kernel", disk(4, &FILES[1..])),
            ("two lines", disk(4, &two_lines)),
            ("too long", disk(4, &too_long)),
            ("a partition like a distribution's", disk(65, &FILES)),
            ("no partitions", vec![0; 1 << 20]),
            ("nothing", Vec::new()),
            ("cut off", disk(4, &FILES)[..(2 << 20)].to_vec()),
        ];
        for (what, bytes) in cases {
            let dir = tempfile::tempdir().unwrap();
            let (cache, pin) = cached(dir.path(), &bytes, DiskFormat::Raw, bytes.len() as u64);
            assert_eq!(cache.direct_boot(&pin).unwrap(), None, "{what}");
        }
    }
}
