//! Is this file a sound qcow2 that may be trusted as a base image?
//!
//! Facts: docs/interop/qcow2.txt of QEMU. A foreign image must not make QEMU
//! open other files of the host, so backing and data files are refused; and
//! all clusters its tables name must lie within the file, which a file that
//! was cut short does not pass.

use std::io::{self, Read, Seek, SeekFrom};

use super::error::ImageError;

pub const MAGIC: &[u8; 4] = b"QFI\xfb";

/// Bytes of the header that this module reads, version 3 without extensions.
const HEADER_LEN: usize = 104;
const VERSION_2_LEN: u32 = 72;

const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
/// dirty, corrupt, data file, compression type, extended L2.
const INCOMPATIBLE_KNOWN: u64 = 0b1_1111;
const EXTENDED_L2: u64 = 1 << 4;

/// Bits 9 to 55: the host offset in an L1 entry or a standard L2 entry.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;

/// Longest L1 table that QEMU opens, in entries (32 MiB).
const L1_MAX: u32 = 4 << 20;

/// The header's fields that matter to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the guest sees, in bytes.
    pub virtual_size: u64,
    version: u32,
    cluster_bits: u32,
    backing_offset: u64,
    encryption: u32,
    l1_entries: u32,
    l1_offset: u64,
    refcounts_offset: u64,
    refcounts_clusters: u32,
    incompatible: u64,
}

/// Why a file is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Not qcow2, or one that this program does not understand.
    Format(String),
    /// It contradicts itself or ends too early.
    Damaged(String),
    /// It would make QEMU read other files.
    Untrusted(String),
}

impl Problem {
    /// The error about the image called `what`.
    pub fn about(self, what: &str) -> ImageError {
        let what = what.to_owned();
        match self {
            Self::Format(reason) => ImageError::Format { what, reason, hint: None },
            Self::Damaged(reason) => ImageError::Damaged { what, reason },
            Self::Untrusted(reason) => ImageError::Untrusted { what, reason },
        }
    }
}

impl Header {
    /// Reads the header at the start of `image`.
    pub fn read(image: &mut (impl Read + Seek)) -> io::Result<Result<Self, Problem>> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        image.seek(SeekFrom::Start(0))?;
        image.take(HEADER_LEN as u64).read_to_end(&mut bytes)?;
        Ok(Self::parse(&bytes))
    }

    /// Parses the first bytes of an image.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        if !bytes.starts_with(MAGIC) {
            return Err(Problem::Format("it does not begin like a qcow2 file".into()));
        }
        let short = || Problem::Damaged("it ends within its header".into());
        let u32_at = |at: usize| be_u32(bytes, at).ok_or_else(short);
        let u64_at = |at: usize| be_u64(bytes, at).ok_or_else(short);
        let version = u32_at(4)?;
        if !matches!(version, 2 | 3) {
            return Err(Problem::Format(format!("it is qcow2 of version {version}, not 2 or 3")));
        }
        Ok(Self {
            version,
            backing_offset: u64_at(8)?,
            cluster_bits: u32_at(20)?,
            virtual_size: u64_at(24)?,
            encryption: u32_at(32)?,
            l1_entries: u32_at(36)?,
            l1_offset: u64_at(40)?,
            refcounts_offset: u64_at(48)?,
            refcounts_clusters: u32_at(56)?,
            incompatible: if version == 2 { 0 } else { u64_at(VERSION_2_LEN as usize)? },
        })
    }

    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Entries are 16 bytes long when clusters have subclusters.
    fn l2_entry_len(&self) -> u64 {
        if self.incompatible & EXTENDED_L2 == 0 { 8 } else { 16 }
    }

    /// Refuses what a base image must not be.
    fn check_kind(&self) -> Result<(), Problem> {
        if self.backing_offset != 0 {
            return Err(Problem::Untrusted(
                "it has a backing file, another file of this host".into(),
            ));
        }
        if self.incompatible & INCOMPATIBLE_DATA_FILE != 0 {
            return Err(Problem::Untrusted(
                "it keeps its data in another file of this host".into(),
            ));
        }
        if self.encryption != 0 {
            return Err(Problem::Format("it is encrypted".into()));
        }
        if self.incompatible & INCOMPATIBLE_CORRUPT != 0 {
            return Err(Problem::Damaged("it is marked as corrupt".into()));
        }
        match self.incompatible & !INCOMPATIBLE_KNOWN {
            0 => Ok(()),
            bits => Err(Problem::Format(format!("it needs unknown qcow2 features ({bits:#x})"))),
        }
    }

    /// Refuses what a machine's disk must not be; it has a backing file.
    pub fn check_overlay(&self) -> Result<(), Problem> {
        Self { backing_offset: 0, ..self.clone() }.check_kind()?;
        // QEMU's own smallest; a header of smaller clusters has no room.
        if (12..=21).contains(&self.cluster_bits) {
            return Ok(());
        }
        Err(Problem::Damaged(format!("its clusters have {} bits", self.cluster_bits)))
    }

    /// Refuses a header whose tables cannot be as it says in `file_len` bytes.
    fn check_tables(&self, file_len: u64) -> Result<(), Problem> {
        let damaged = |text: &str| Err(Problem::Damaged(text.to_owned()));
        if !(9..=21).contains(&self.cluster_bits) {
            return damaged("its cluster size is impossible");
        }
        // 16 EiB would overflow below; QEMU itself stops long before.
        if self.virtual_size >= 1 << 60 {
            return damaged("its virtual size is impossible");
        }
        let per_table = self.cluster() / self.l2_entry_len() * self.cluster();
        if self.l1_entries > L1_MAX
            || u64::from(self.l1_entries) < self.virtual_size.div_ceil(per_table)
        {
            return damaged("its table of clusters does not fit its size");
        }
        let l1_end = self.l1_offset.checked_add(u64::from(self.l1_entries) * 8);
        let refcounts = u64::from(self.refcounts_clusters) << self.cluster_bits;
        let refcounts_end = self.refcounts_offset.checked_add(refcounts);
        let inside = |end: Option<u64>| end.is_some_and(|end| end <= file_len);
        if !inside(l1_end) || !inside(refcounts_end) {
            return Err(cut_short(file_len));
        }
        Ok(())
    }

    /// An offset that the file must reach for the cluster of this L2 entry:
    /// the cluster's begin, or the last sector of a compressed one. `None` for
    /// unallocated clusters.
    fn reaches(&self, entry: u64) -> Option<u64> {
        if entry & COMPRESSED == 0 {
            return Some(entry & OFFSET_MASK).filter(|&offset| offset != 0);
        }
        let offset_bits = 62 - (self.cluster_bits - 8);
        let offset = entry & ((1 << offset_bits) - 1);
        let more_sectors = (entry & (COMPRESSED - 1)) >> offset_bits;
        Some(((offset >> 9) + more_sectors) << 9)
    }
}

/// Checks a whole image: header, tables, and that all it names is there.
/// Reads the tables only, about 1.2 MiB for a disk of 10 GiB.
pub fn check(image: &mut (impl Read + Seek), file_len: u64) -> io::Result<Result<Header, Problem>> {
    let header = match Header::read(image)? {
        Ok(header) => header,
        Err(problem) => return Ok(Err(problem)),
    };
    if let Err(problem) = header.check_kind().and_then(|()| header.check_tables(file_len)) {
        return Ok(Err(problem));
    }
    Ok(if clusters_inside(image, &header, file_len)? {
        Ok(header)
    } else {
        Err(cut_short(file_len))
    })
}

/// Whether every cluster that the tables name is in the file. (Only its begin
/// is asked for: the last one may end after the file, QEMU reads zeroes there.)
fn clusters_inside(
    image: &mut (impl Read + Seek),
    header: &Header,
    file_len: u64,
) -> io::Result<bool> {
    let l1 = read_at(image, header.l1_offset, u64::from(header.l1_entries) * 8)?;
    for table in entries(&l1, 8).map(|entry| entry & OFFSET_MASK).filter(|&at| at != 0) {
        if table + header.cluster() > file_len {
            return Ok(false);
        }
        let l2 = read_at(image, table, header.cluster())?;
        let mut data = entries(&l2, header.l2_entry_len()).filter_map(|e| header.reaches(e));
        if data.any(|offset| offset >= file_len) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn cut_short(file_len: u64) -> Problem {
    Problem::Damaged(format!("it names data beyond its end at {file_len} bytes: it was cut short"))
}

fn read_at(image: &mut (impl Read + Seek), offset: u64, len: u64) -> io::Result<Vec<u8>> {
    image.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    image.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The first 8 bytes of each entry of a table, big-endian.
fn entries(table: &[u8], entry_len: u64) -> impl Iterator<Item = u64> {
    let step = usize::try_from(entry_len).unwrap_or(8);
    table.chunks_exact(step).filter_map(|entry| be_u64(entry, 0))
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Cursor;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;

    /// A header as version 3 writes it: 64 KiB clusters, 1 GiB, tables in the
    /// second and third cluster.
    fn header() -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 4, &3_u32.to_be_bytes());
        put(&mut bytes, 20, &16_u32.to_be_bytes());
        put(&mut bytes, 24, &(1_u64 << 30).to_be_bytes());
        put(&mut bytes, 36, &2_u32.to_be_bytes());
        put(&mut bytes, 40, &0x1_0000_u64.to_be_bytes());
        put(&mut bytes, 48, &0x2_0000_u64.to_be_bytes());
        put(&mut bytes, 56, &1_u32.to_be_bytes());
        bytes
    }

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    /// The header in a file of three clusters, whose tables are empty.
    fn image(header: &[u8]) -> Vec<u8> {
        let mut bytes = header.to_vec();
        bytes.resize(3 << 16, 0);
        bytes
    }

    fn verdict(bytes: &[u8]) -> Result<Header, Problem> {
        check(&mut Cursor::new(bytes), bytes.len() as u64).unwrap()
    }

    #[test]
    fn a_sound_image_has_a_virtual_size() {
        assert_eq!(verdict(&image(&header())).unwrap().virtual_size, 1 << 30);
    }

    #[test]
    fn other_files_are_no_qcow2() {
        for bytes in [&b""[..], b"QFI", b"<!DOCTYPE html>"] {
            assert!(matches!(Header::parse(bytes), Err(Problem::Format(_))), "{bytes:?}");
        }
        let mut future = header();
        put(&mut future, 4, &4_u32.to_be_bytes());
        assert!(matches!(Header::parse(&future), Err(Problem::Format(_))));
        assert!(matches!(Header::parse(&header()[..60]), Err(Problem::Damaged(_))));
    }

    #[test]
    fn a_base_may_not_point_to_other_files() {
        let mut backed = header();
        put(&mut backed, 8, &200_u64.to_be_bytes());
        assert!(matches!(verdict(&image(&backed)), Err(Problem::Untrusted(_))));
        let mut external = header();
        put(&mut external, 72, &INCOMPATIBLE_DATA_FILE.to_be_bytes());
        assert!(matches!(verdict(&image(&external)), Err(Problem::Untrusted(_))));
    }

    #[test]
    fn encryption_and_unknown_features_are_refused() {
        let mut encrypted = header();
        put(&mut encrypted, 32, &1_u32.to_be_bytes());
        assert!(matches!(verdict(&image(&encrypted)), Err(Problem::Format(_))));
        let mut unknown = header();
        put(&mut unknown, 72, &(1_u64 << 40).to_be_bytes());
        assert!(matches!(verdict(&image(&unknown)), Err(Problem::Format(_))));
    }

    #[test]
    fn tables_beyond_the_end_or_impossible_sizes_are_damage() {
        let fields: [(usize, &[u8]); 5] = [
            (20, &40_u32.to_be_bytes()),
            (24, &u64::MAX.to_be_bytes()),
            (36, &1_u32.to_be_bytes()),
            (40, &u64::MAX.to_be_bytes()),
            (56, &9_u32.to_be_bytes()),
        ];
        for (at, value) in fields {
            let mut bytes = header();
            put(&mut bytes, at, value);
            assert!(matches!(verdict(&image(&bytes)), Err(Problem::Damaged(_))), "field at {at}");
        }
    }

    #[test]
    fn clusters_beyond_the_end_are_damage() {
        let mut bytes = image(&header());
        put(&mut bytes, 0x1_0000, &(9_u64 << 16).to_be_bytes());
        assert_eq!(verdict(&bytes), Err(cut_short(3 << 16)));
    }

    /// Makes an image of 8 MiB of data with `qemu-img`; `None` (visibly) where
    /// that is not installed.
    fn made_by_qemu(dir: &Path, options: &[&str]) -> Option<PathBuf> {
        let (raw, qcow2) = (dir.join("disk.raw"), dir.join("disk.qcow2"));
        let text: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_be_bytes).collect();
        fs::write(&raw, text).unwrap();
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "raw", "-O", "qcow2"]).args(options).args([&raw, &qcow2]);
        let Ok(out) = command.output() else {
            eprintln!("skipped: qemu-img is not installed");
            return None;
        };
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Some(qcow2)
    }

    #[test]
    fn what_qemu_makes_is_sound_and_cut_short_it_is_not() {
        let kinds: [&[&str]; 6] = [
            &[],
            &["-c"],
            &["-o", "compat=0.10"],
            &["-o", "cluster_size=512"],
            &["-c", "-o", "cluster_size=2M,compression_type=zstd"],
            &["-o", "extended_l2=on"],
        ];
        for options in kinds {
            let dir = tempfile::tempdir().unwrap();
            let Some(path) = made_by_qemu(dir.path(), options) else { return };
            let length = fs::metadata(&path).unwrap().len();
            let header = check(&mut File::open(&path).unwrap(), length).unwrap().unwrap();
            assert_eq!(header.virtual_size, 8_000_000_u64.next_multiple_of(512), "{options:?}");
            for cut in [length - length / 4, length / 2, 300, 80] {
                File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
                let problem = check(&mut File::open(&path).unwrap(), cut).unwrap().unwrap_err();
                assert!(matches!(problem, Problem::Damaged(_)), "{options:?} {cut}: {problem:?}");
            }
        }
    }
}
