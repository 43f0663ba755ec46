//! Why an image could not be had, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::machine::config::Arch;
use crate::machine::units::human_bytes;

use super::catalog::CatalogError;
use super::checksums::ChecksumError;
use super::fetch::FetchError;
use super::recipe::RecipeError;
use super::registry::RegistryError;
use super::signature::SignatureError;
use super::stream::StreamError;

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(
        "there is no image \"{name}\": known are {known}, a path, a URL with --sha256, and docker://"
    )]
    Unknown { name: String, known: String, nearest: Option<String> },
    #[error("the image \"{image}\" has no stream or version \"{stream}\": it has {known}")]
    UnknownStream { image: String, stream: String, known: String },
    #[error("\"{0}\" is not a release: those are numbers and dots, as in 44.20260707.3.1")]
    BadRelease(String),
    #[error("the image \"{0}\" has no releases to choose from")]
    NoReleases(String),
    #[error("\"{image}\" does not exist for {}: there is {have}", .arch.name())]
    NoArch { image: String, arch: Arch, have: String },
    #[error("cannot use the URL \"{url}\": {reason}")]
    Url { url: String, reason: String },
    #[error(
        "the URL \"{url}\" needs --sha256: nothing else tells whether its bytes are the right ones"
    )]
    NeedsDigest { url: String },
    #[error("\"{0}\" is not a SHA-256 digest: it has 64 hexadecimal digits")]
    BadDigest(String),
    #[error("--sha256 is for a path or a URL: \"{0}\" is checked against its publisher's digests")]
    DigestUnused(String),

    #[error("cannot read the image \"{}\"", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot use \"{}\" as an image: it is {found}", .path.display())]
    NotAFile { path: PathBuf, found: &'static str },
    #[error("\"{what}\" is not what was asked for: its digest is {found}, expected {expected}")]
    Mismatch { what: String, expected: String, found: String },
    #[error("the image \"{what}\" is damaged: {reason}")]
    Damaged { what: String, reason: String },
    #[error("\"{what}\" is not a disk image that can be used: {reason}")]
    Format { what: String, reason: String, hint: Option<String> },
    #[error("the image \"{what}\" is refused: {reason}")]
    Untrusted { what: String, reason: String },

    #[error("cannot trust \"{what}\": {source}")]
    Signature { what: String, source: SignatureError },
    #[error("\"{0}\" is not in the cache, and --pull never forbids to download it")]
    NotCached(String),
    #[error(transparent)]
    Fetch(FetchError),
    #[error("cannot use the stream metadata \"{url}\": {source}")]
    Stream { url: String, source: StreamError },
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("cannot use the checksums \"{url}\": {source}")]
    Checksums { url: String, source: ChecksumError },
    #[error("cannot get \"docker://{reference}\": {source}")]
    Registry { reference: String, source: RegistryError },
    #[error("cannot build \"{image}\": {source}")]
    Recipe { image: String, source: RecipeError },

    #[error("cannot write in the image cache \"{}\"", .dir.display())]
    Cache { dir: PathBuf, source: io::Error },
    #[error(
        "no space left in the image cache \"{}\": about {} more are needed",
        .dir.display(), human_bytes(*.missing)
    )]
    NoSpace { dir: PathBuf, missing: u64 },
    #[error("the base image \"{}\" is missing: it holds what \"{image}\" had when the machine was made", .path.display())]
    BaseMissing { path: PathBuf, image: String },
    #[error("the base image \"{}\" was changed: {reason}", .path.display())]
    BaseChanged { path: PathBuf, reason: String },

    #[error("the image \"{0}\" was removed from the cache again and again while it was wanted")]
    Removed(String),
    #[error("another nsvm is busy with the base image \"{0}\"")]
    Busy(String),
    #[error("cannot name an image \"{name}\": {reason}")]
    BadName { name: String, reason: String },
    #[error("there is no image \"{0}\" in the cache")]
    NotInCache(String),
    #[error("\"{text}\" means several images in the cache: {}", .digests.join(", "))]
    Ambiguous { text: String, digests: Vec<String> },

    #[error("cannot create the disk \"{}\"", .path.display())]
    Overlay { path: PathBuf, source: io::Error },
    #[error(
        "a disk of {} is too small for the image, which has {}",
        human_bytes(*.asked), human_bytes(*.needed)
    )]
    TooSmall { asked: u64, needed: u64 },
    #[error("interrupted")]
    Cancelled,
}

impl ImageError {
    /// One imperative sentence with the way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Unknown { nearest: Some(nearest), .. } => format!("Try --image {nearest}"),
            Self::Unknown { name, .. } => format!(
                "See what there is with `nsvm image search`; for a file of that name write --image \
                 ./{name}"
            ),
            Self::NeedsDigest { .. } => {
                "Add --sha256 with the digest its publisher gives for that file".to_owned()
            }
            Self::DigestUnused(image) => format!("Leave --sha256 out with --image {image}"),
            Self::NotAFile { .. } | Self::Read { .. } => {
                "Give --image the path of a disk image you can read".to_owned()
            }
            Self::Mismatch { .. } => {
                "Run the command again; if it stays so, compare the digest with the publisher's"
                    .to_owned()
            }
            Self::Damaged { .. } => "Get the file again: it may be cut short".to_owned(),
            Self::Format { hint: Some(hint), .. } => hint.clone(),
            Self::Format { .. } => {
                "Give --image a disk in qcow2 or raw format, as it is or packed with xz, zstd or gzip"
                    .to_owned()
            }
            Self::Untrusted { what, .. } => {
                format!("Flatten it first: qemu-img convert -O qcow2 \"{what}\" flat.qcow2")
            }
            Self::Signature { source, .. } => source.hint(),
            Self::NotCached(_) => "Use --pull missing".to_owned(),
            Self::Fetch(e) => return e.hint(),
            Self::Stream { source, .. } => return source.hint(),
            Self::Catalog(e) => e.hint(),
            Self::Checksums { source, .. } => source.hint().to_owned(),
            Self::Registry { source, .. } => source.hint(),
            Self::Recipe { source, .. } => return source.hint(),
            Self::Cache { dir, source } if source.kind() == io::ErrorKind::StorageFull => {
                format!("Free some space on the file system of \"{}\"", dir.display())
            }
            Self::Cache { dir, .. } => {
                format!(
                    "Make \"{}\" writable, or name another one in NSVM_IMAGE_CACHE",
                    dir.display()
                )
            }
            Self::NoSpace { dir, .. } => format!(
                "Free space there, or name a directory on another disk in NSVM_IMAGE_CACHE; \
                 `du -sh \"{}\"` shows what it holds",
                dir.display()
            ),
            Self::BaseMissing { path, .. } | Self::BaseChanged { path, .. } => format!(
                "Put the original \"{}\" back, or remove the machine with `nsvm machine rm` and make \
                 it again",
                path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
            ),
            Self::Overlay { path, .. } => format!(
                "Check that \"{}\" is writable and has free space",
                path.parent().unwrap_or(path).display()
            ),
            Self::Busy(_) | Self::Removed(_) => "Try again when it has ended".to_owned(),
            Self::BadName { .. } => "Choose another one with --name".to_owned(),
            Self::NotInCache(_) => "See what is there with `nsvm image list`".to_owned(),
            Self::Ambiguous { .. } => "Give the digest of the one you mean".to_owned(),
            Self::TooSmall { needed, .. } => {
                format!("Use --disk-size {} or more", needed.div_ceil(1 << 30))
            }
            Self::NoReleases(image) => format!("Use --image {image}"),
            Self::BadRelease(_) => {
                "Take one from https://fedoraproject.org/coreos/release-notes".to_owned()
            }
            Self::UnknownStream { image, .. } => {
                format!("See them with `nsvm image search {image}`")
            }
            Self::NoArch { .. } => {
                "Choose another one with --arch, or another image (`nsvm image search`)".to_owned()
            }
            Self::Url { .. } => {
                "Give an address like https://example.org/disk.qcow2.xz".to_owned()
            }
            Self::BadDigest(_) => "Copy it whole from its publisher's list".to_owned(),
            Self::Cancelled => return None,
        };
        Some(text)
    }

    pub(super) fn cache(dir: &Path, source: io::Error) -> Self {
        Self::Cache { dir: dir.to_owned(), source }
    }
}

/// Carries the error through `Read` adaptors that know only `io::Error`.
impl From<ImageError> for io::Error {
    fn from(error: ImageError) -> Self {
        Self::other(error)
    }
}
