//! One pass from a stream of bytes to a verified base image in the cache:
//! watch, SHA-256, decode, SHA-256, sparse file, rename.
//!
//! ```text
//! thread "source"   body > watch > sha256
//! thread "decoder"  xz, zstd, gzip (xz has more threads) > limit
//! the caller's      sha256 > sparse file
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::thread;

use crate::machine::config::DiskFormat;
use crate::machine::verified::Verified;

use super::ahead::{self, Ahead};
use super::cache::{Key, Remembered, publish};
use super::checked::Checked;
use super::decode::{self, Compression};
use super::error::ImageError;
use super::hashing::Hashing;
use super::limit::{Limit, UNPACK_YOURSELF};
use super::prepare::Job;
use super::qcow2;
use super::sparse::{self, CopyError};
use super::watch::Watch;
use super::xz;
use crate::host;

/// Bytes on their way in, and what they must turn out to be.
pub struct Incoming<'a> {
    pub reader: Box<dyn Read + Send + 'a>,
    /// The path or URL, for messages.
    pub source: &'a str,
    /// For the screen: "Downloading fedora-coreos.qcow2.xz".
    pub activity: String,
    pub length: Option<u64>,
    pub expected: Expected<'a>,
}

/// Digests that must hold, of the bytes as they come and of the disk in them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    pub source_sha256: Option<&'a str>,
    /// Some publishers give no other.
    pub source_sha512: Option<&'a str>,
    pub disk_sha256: Option<&'a str>,
}

impl<'a> Expected<'a> {
    /// The digest of the bytes as they come, by which they are remembered.
    pub fn source(&self) -> &'a str {
        self.source_sha256.or(self.source_sha512).unwrap_or_default()
    }
}

/// Takes everything in. After an error nothing of it is left in the cache.
pub fn ingest(job: &Job<'_>, key: &Key, incoming: Incoming<'_>) -> Result<Remembered, ImageError> {
    let partial = job.cache.partial(key);
    let result = take_in(job, &partial, incoming);
    if result.is_err() {
        let _ = fs::remove_file(&partial);
    }
    result
}

/// Gives a finished disk that lies in the cache's file system its final name.
pub fn adopt(job: &Job<'_>, file: &Path, source: &str) -> Result<Remembered, ImageError> {
    let read = |e| ImageError::Read { path: file.to_owned(), source: e };
    let opened = File::open(file).map_err(read)?;
    let length = opened.metadata().map_err(read)?.len();
    let activity = format!("Checking {source}");
    let watched = Watch::new(&opened, *job, source, activity, Some(length));
    let mut hashing = Hashing::new(watched);
    hashing.drain().map_err(|e| damaged(e, source))?;
    let sha256 = hashing.digest();
    finish(job, file, &opened, source, Digests { source: sha256.clone(), disk: sha256 })
}

struct Digests {
    source: String,
    disk: String,
}

fn take_in(
    job: &Job<'_>,
    partial: &Path,
    incoming: Incoming<'_>,
) -> Result<Remembered, ImageError> {
    let Incoming { reader, source, activity, length, expected } = incoming;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(partial);
    let mut file = file.map_err(|e| ImageError::cache(job.cache.dir(), e))?;

    let reader = Checked::new(reader, source, expected.source_sha512);
    let outer = Hashing::new(Watch::new(reader, *job, source, activity, length));
    let (outer, unpacked) = thread::scope(|scope| -> Result<_, ImageError> {
        let (mut bytes, thread) =
            ahead::spawn(scope, "source", outer).map_err(|e| damaged(e, source))?;
        let unpacked = unpack(job, source, length, &mut bytes, &mut file);
        // A decoder need not have asked for the last bytes.
        let unpacked = unpacked.and_then(|found| {
            bytes.drain().map_err(CopyError::Read)?;
            Ok(found)
        });
        drop(bytes);
        Ok((ahead::join(thread), unpacked))
    })?;
    let (total, disk) = unpacked.map_err(|failure| match failure {
        CopyError::Read(e) => damaged(e, source),
        CopyError::Write(e, written) => {
            let (done, length) = (outer.inner().done(), outer.inner().total());
            unwritable(job.cache.dir(), e, needed(written, done, length))
        }
    })?;
    let digests = Digests { source: outer.digest(), disk };
    verify(source, &expected, &digests)?;
    file.set_len(total).map_err(|e| unwritable(job.cache.dir(), e, 0))?;
    finish(job, partial, &file, source, digests)
}

/// Writes the disk that is in `bytes`; gives its length and digest.
fn unpack(
    job: &Job<'_>,
    source: &str,
    length: Option<u64>,
    bytes: &mut Ahead,
    file: &mut File,
) -> Result<(u64, String), CopyError> {
    let claimed = Compression::claimed(last_part(source));
    let decoded = decode::open(source, claimed, bytes).map_err(CopyError::Read)?;
    let disk: Box<dyn Read + Send> = match (decoded.compression, length) {
        (None, Some(_)) => decoded.reader,
        _ => Box::new(Limit::new(decoded.reader, *job, source).map_err(CopyError::Read)?),
    };
    thread::scope(|scope| {
        let (disk, _) = ahead::spawn(scope, "decoder", disk).map_err(CopyError::Read)?;
        let mut inner = Hashing::new(disk);
        let total = sparse::copy(&mut inner, file)?;
        Ok((total, inner.digest()))
    })
}

fn verify(source: &str, expected: &Expected<'_>, found: &Digests) -> Result<(), ImageError> {
    let pairs = [
        (source.to_owned(), expected.source_sha256, &found.source),
        (format!("{source} (uncompressed)"), expected.disk_sha256, &found.disk),
    ];
    for (what, expected, found) in pairs {
        match expected {
            Some(expected) if expected != found => {
                let (expected, found) = (expected.to_owned(), found.clone());
                return Err(ImageError::Mismatch { what, expected, found });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Looks at what it is, and only then gives it its name.
fn finish(
    job: &Job<'_>,
    from: &Path,
    mut file: &File,
    source: &str,
    digests: Digests,
) -> Result<Remembered, ImageError> {
    let failed = |e| unwritable(job.cache.dir(), e, 0);
    let length = file.metadata().map_err(failed)?.len();
    let (format, virtual_size) = kind(&mut file, length, source)?;
    job.go_on()?;
    publish(file, from, &job.cache.base_named(&digests.disk, format)).map_err(failed)?;
    Ok(Remembered {
        source: source.to_owned(),
        source_sha256: digests.source,
        sha256: digests.disk,
        format,
        virtual_size,
        length,
        stream: None,
        release: None,
        verified: Verified::default(),
        arch: None,
    })
}

/// Format and virtual size of a disk image, which is sound.
fn kind(file: &mut &File, length: u64, source: &str) -> Result<(DiskFormat, u64), ImageError> {
    let unreadable = |e| ImageError::Read { path: source.into(), source: e };
    let mut start = [0; 512];
    io::Seek::rewind(file).map_err(unreadable)?;
    let n = sparse::fill(file, &mut start).map_err(unreadable)?;
    if start.starts_with(qcow2::MAGIC) {
        let header = qcow2::check(file, length).map_err(unreadable)?;
        let header = header.map_err(|problem| problem.about(source))?;
        return Ok((DiskFormat::Qcow2, header.virtual_size));
    }
    raw(source, &start[..n], length).map(|()| (DiskFormat::Raw, length))
}

/// Whether this can be a raw disk: anything of whole sectors that is not known
/// to be something else.
fn raw(source: &str, start: &[u8], length: u64) -> Result<(), ImageError> {
    const OTHERS: [(&str, usize, &[u8]); 4] = [
        ("VMDK", 0, b"KDMV"),
        ("VHDX", 0, b"vhdxfile"),
        ("VHD", 0, b"conectix"),
        ("VDI", 64, b"\x7f\x10\xda\xbe"),
    ];
    let is = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|rest| rest.starts_with(magic));
    let other = OTHERS.iter().find(|&&(_, at, magic)| is(at, magic));
    let claims_qcow2 = last_part(source).to_ascii_lowercase().contains(".qcow2");
    let reason = match other {
        Some((name, ..)) => format!("it is {name}; qcow2 and raw are supported"),
        None if claims_qcow2 && length > 0 => {
            "its name says qcow2, its content does not".to_owned()
        }
        None if !length.is_multiple_of(512) => {
            format!("it is no qcow2, and its {length} bytes are not whole sectors of a raw disk")
        }
        None => return Ok(()),
    };
    let hint = other
        .map(|_| format!("Convert it first: qemu-img convert -O qcow2 \"{source}\" disk.qcow2"));
    Err(ImageError::Format { what: source.to_owned(), reason, hint })
}

/// The file name in a path or URL.
pub fn last_part(source: &str) -> &str {
    let path = source.split(['?', '#']).next().unwrap_or(source);
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// An error from the reading side: typed where the source failed, else made by
/// a decoder that did not understand its input.
fn damaged(error: io::Error, source: &str) -> ImageError {
    let what = source.to_owned();
    error.downcast::<ImageError>().unwrap_or_else(|error| {
        if xz::wants_memory(&error) {
            let reason = "it needs more than 1 GiB of memory to unpack".to_owned();
            ImageError::Format { what, reason, hint: Some(UNPACK_YOURSELF.to_owned()) }
        } else {
            ImageError::Damaged { what, reason: decoder_words(&error) }
        }
    })
}

fn decoder_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        _ => format!("it cannot be decompressed ({error})"),
    }
}

/// An error from the writing side; `needed` bytes were still to come.
pub fn unwritable(dir: &Path, error: io::Error, needed: u64) -> ImageError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let free = host::disk_space(dir).map_or(0, |(free, _)| free);
            ImageError::NoSpace {
                dir: dir.to_owned(),
                missing: needed.saturating_sub(free).max(1 << 20),
            }
        }
        _ => ImageError::cache(dir, error),
    }
}

/// Bytes that still have to be written, judged by how far `done` of `length`
/// incoming bytes have led.
fn needed(written: u64, done: u64, length: Option<u64>) -> u64 {
    let Some(length) = length.filter(|_| done > 0) else { return 0 };
    let whole = u128::from(written) * u128::from(length) / u128::from(done);
    u64::try_from(whole).unwrap_or(u64::MAX).saturating_sub(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_a_url_has_no_query() {
        assert_eq!(last_part("https://x/y/disk.qcow2.xz?token=a/b"), "disk.qcow2.xz");
        assert_eq!(last_part("/a/disk.raw"), "disk.raw");
        assert_eq!(last_part("disk"), "disk");
    }

    #[test]
    fn other_disk_formats_are_named_with_the_way_out() {
        let error = raw("/a/disk.vmdk", b"KDMV....", 1024).unwrap_err();
        assert!(error.to_string().contains("it is VMDK"), "{error}");
        assert!(error.hint().unwrap().contains("qemu-img convert -O qcow2"), "{error}");
        raw("/a/disk.qcow2", &[0; 512], 512).unwrap_err();
        raw("/a/notes.txt", b"hello", 5).unwrap_err();
        raw("/a/disk.img", &[0; 512], 1 << 20).unwrap();
        raw("/dev/null", b"", 0).unwrap();
    }

    #[test]
    fn a_full_disk_says_how_much_is_missing() {
        // 10 of 100 bytes in gave 30 bytes out: 270 more are to come.
        assert_eq!(needed(30, 10, Some(100)), 270);
        assert_eq!(needed(30, 0, Some(100)), 0);
        assert_eq!(needed(30, 10, None), 0);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = unwritable(Path::new("/"), full, u64::MAX);
        assert!(matches!(error, ImageError::NoSpace { .. }), "{error}");
        assert!(error.hint().unwrap().contains("NSVM_IMAGE_CACHE"));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(matches!(unwritable(Path::new("/x"), denied, 0), ImageError::Cache { .. }));
    }
}
