//! The file that is served: 1.8 GB in nine blocks of 192 MiB, as `xz -9 -T2`
//! makes them and Fedora CoreOS is published.
//!
//! What is in the blocks is the start of debian-local's disk, nine times:
//! packing it once takes three minutes of CPU time, and blocks know nothing of
//! each other. It is kept beside the build.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::super::children;
use super::super::say;
use super::super::settings::Settings;

/// What `xz -9` takes: three dictionaries of 64 MiB.
const BLOCK: u64 = 192 << 20;
const BLOCKS: u8 = 9;

/// Building debian-local, or packing a block on a busy host.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Sizes of the format's frame (The .xz File Format 1.1.0, sections 2.1).
const HEADER: usize = 12;
const FOOTER: usize = 12;

#[derive(Debug)]
pub struct Archive {
    pub path: PathBuf,
    pub length: u64,
    pub sha256: String,
}

impl Archive {
    /// Makes it unless it is there.
    pub fn ensure(settings: &Settings) -> anyhow::Result<Self> {
        let base = children::run(
            Command::new(&settings.nsvm).args(["image", "pull", "-q", "debian-local"]),
            PATIENCE,
        )?;
        let base = PathBuf::from(base.stdout.trim());
        let name = base.file_stem().context("the base has no name")?.to_string_lossy();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("image-{name:.12}.raw.xz"));
        if !path.exists() {
            make(&base, &path)?;
        }
        let (length, sha256) = (fs::metadata(&path)?.len(), digest(&path)?);
        Ok(Self { path, length, sha256 })
    }
}

fn make(base: &Path, path: &Path) -> anyhow::Result<()> {
    say("Packing an image with `xz -9`: minutes, but once");
    let (plain, packed) = (path.with_extension("block"), path.with_extension("new"));
    let block = pack(base, &plain);
    let _ = fs::remove_file(&plain);
    File::create(&packed)?.write_all(&[empty_start()?, repeat(&block?, BLOCKS)?].concat())?;
    fs::rename(packed, path)?;
    Ok(())
}

/// A stream of its own before the others: without it the file would begin like
/// the qcow2 that the blocks are of, and be judged as one.
fn empty_start() -> anyhow::Result<Vec<u8>> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(&vec![0; 1 << 20])?;
    Ok(encoder.finish()?)
}

/// An xz file with one block, which tells its sizes as those of `-T2` do.
fn pack(base: &Path, plain: &Path) -> anyhow::Result<Vec<u8>> {
    let mut start = File::open(base)?.take(BLOCK);
    let copied = std::io::copy(&mut start, &mut File::create(plain)?)?;
    ensure!(copied == BLOCK, "\"{}\" has only {copied} bytes", base.display());
    let packed = plain.with_extension("block.xz");
    let mut xz = Command::new("xz");
    children::run(xz.args(["-9", "-T2", "--keep", "--force"]).arg(plain), PATIENCE)?;
    let bytes = fs::read(&packed)?;
    fs::remove_file(packed)?;
    Ok(bytes)
}

fn digest(path: &Path) -> anyhow::Result<String> {
    let shown = children::run(Command::new("sha256sum").arg(path), PATIENCE)?.stdout;
    Ok(shown.split_whitespace().next().context("reading the digest")?.to_owned())
}

/// The file with its only block `count` times.
fn repeat(file: &[u8], count: u8) -> anyhow::Result<Vec<u8>> {
    let cut = "the xz file is cut";
    let footer = file.len().checked_sub(FOOTER).context(cut)?;
    let back = file.get(footer + 4..footer + 8).context(cut)?.try_into()?;
    let index = footer.checked_sub(4 * (u32::from_le_bytes(back) as usize + 1)).context(cut)?;
    let block = file.get(HEADER..index).context(cut)?;
    let record = record(&file[index..footer])?;

    let mut new_index = vec![0, count];
    (0..count).for_each(|_| new_index.extend(record));
    new_index.resize(new_index.len().next_multiple_of(4), 0);
    new_index.extend(crc32(&new_index));
    let mut end = u32::try_from(new_index.len() / 4 - 1)?.to_le_bytes().to_vec();
    end.extend(&file[footer + 8..footer + 10]);

    let mut new = file[..HEADER].to_vec();
    (0..count).for_each(|_| new.extend(block));
    new.extend(new_index);
    new.extend(crc32(&end));
    new.extend(end);
    new.extend(b"YZ");
    Ok(new)
}

/// Two numbers of seven bits a byte, after the mark of an index and a count.
fn record(index: &[u8]) -> anyhow::Result<&[u8]> {
    ensure!(index.starts_with(&[0, 1]), "the xz file has not one block");
    let ends = index.iter().enumerate().skip(2).filter(|(_, byte)| **byte < 0x80);
    let (end, _) = ends.clone().nth(1).context("the xz file's index is cut")?;
    Ok(&index[2..=end])
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

#[cfg(test)]
#[allow(dead_code, unused_imports)] // the benchmark itself has no harness: tests/bench.rs
mod tests {
    use super::*;

    #[test]
    fn a_repeated_block_is_a_sound_file() {
        let builder = |size| {
            let mut builder = liblzma::stream::MtStreamBuilder::new();
            builder.threads(2).preset(1).block_size(size);
            builder.encoder().unwrap()
        };
        let plain: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut one = liblzma::write::XzEncoder::new_stream(Vec::new(), builder(1 << 20));
        one.write_all(&plain).unwrap();
        let nine = repeat(&one.finish().unwrap(), 9).unwrap();
        let mut unpacked = Vec::new();
        liblzma::read::XzDecoder::new(&nine[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain.repeat(9));
    }

    #[test]
    fn what_is_no_xz_file_is_refused() {
        for bytes in [&b""[..], b"YZ", &[0; 64]] {
            repeat(bytes, 2).unwrap_err();
        }
    }
}
