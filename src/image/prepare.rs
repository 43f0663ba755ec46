//! The one entry point: a source as typed becomes a base image in the cache.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use url::Url;

use crate::machine::config::{Arch, ImagePin};
use crate::machine::event::Progress;

use super::cache::{Cache, Remembered};
use super::catalog::{DEFAULT_USER, Entry, Kind, Provisioner};
use super::choices::{Pull, Signatures};
use super::error::ImageError;
use super::fcos::{self, Fcos};
use super::fetch::{Http, Patience, authorities};
use super::source::Source;
use super::{cloud, imported, local, recipe, registry, remote, signature};

/// What the user asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// `--image` as typed.
    pub source: &'a str,
    /// `--sha256` as typed: of the file as published, before any decompression.
    pub sha256: Option<&'a str>,
    pub arch: Arch,
}

/// What surrounds every image, gathered by the caller from all [`super::Choices`].
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `NSVM_STREAM_URL`: the whole URL of a stream's JSON; http on loopback only.
    pub stream_url: Option<String>,
    pub pull: Pull,
    pub signatures: Signatures,
    /// Public keys to trust instead of the publisher's.
    pub keyring: Option<PathBuf>,
    /// CA certificates to trust besides the system's.
    pub cacerts: Vec<PathBuf>,
    /// URL prefixes to try in place of the publisher's own.
    pub mirrors: Vec<String>,
    /// Images of the user's own.
    pub catalog: Vec<Entry>,
    pub patience: Patience,
}

/// A base image, verified and in the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    pub pin: ImagePin,
    pub base: PathBuf,
    /// The login account the image is made for.
    pub user: String,
    pub provisioner: Provisioner,
    /// False: nobody runs systemd units in it.
    pub systemd: bool,
}

/// All that the parts below need to know about this one run.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    /// What a registry has given this program for its downloads.
    pub bearer: Option<&'a str>,
    pub cache: &'a Cache,
    pub settings: &'a Settings,
    pub arch: Arch,
    pub progress: &'a dyn Progress,
    pub cancel: &'a AtomicBool,
}

impl<'a> Job<'a> {
    /// `Err(Cancelled)` once the user has given up.
    pub fn go_on(&self) -> Result<(), ImageError> {
        if self.cancel.load(Ordering::Relaxed) { Err(ImageError::Cancelled) } else { Ok(()) }
    }

    /// A client for `url`, by the user's settings.
    pub fn http(&self, url: &Url) -> Result<Http<'a>, ImageError> {
        self.http_with(url, self.settings.patience)
    }

    /// The same with other `patience`.
    pub fn http_with(&self, url: &Url, patience: Patience) -> Result<Http<'a>, ImageError> {
        let mut trusted = Vec::new();
        for path in &self.settings.cacerts {
            trusted.extend(authorities(path)?);
        }
        let http = Http::new(url, patience, trusted, self.cancel)?;
        Ok(http.authorized(self.bearer))
    }
}

/// Gets the image that is wanted into the cache, unless it is there.
///
/// Blocks for as long as a download or a build takes; `cancel` ends it within
/// about a second and leaves nothing but a resumable download.
pub fn prepare(
    cache: &Cache,
    wanted: &Wanted<'_>,
    settings: &Settings,
    progress: &dyn Progress,
    cancel: &AtomicBool,
) -> Result<Prepared, ImageError> {
    let catalog = imported::catalog(cache, settings)?;
    let source = Source::parse(wanted.source, wanted.sha256, &catalog)?;
    let job = Job { cache, settings, arch: wanted.arch, progress, cancel, bearer: None };
    if !may_be_signed(&source) {
        signature::demand_none(&job, wanted.source)?;
    }
    let found = match &source {
        Source::Empty => local::empty(&job)?,
        Source::Path { path, sha256 } => local::file(&job, path, sha256.as_deref())?,
        Source::Registry { reference } => registry::image(&job, reference)?,
        Source::Url { url, sha256 } => remote::url(&job, url, sha256)?,
        Source::Named { entry, stream, release } => {
            named(&job, entry, stream.as_deref(), release.as_deref())?
        }
    };
    Ok(prepared(&job, &source, found))
}

/// Whether anybody publishes signatures of such images.
fn may_be_signed(source: &Source<'_>) -> bool {
    matches!(source, Source::Named { entry, .. } if matches!(entry.kind, Kind::FcosStream { .. }))
}

fn named(
    job: &Job<'_>,
    entry: &Entry,
    stream: Option<&str>,
    release: Option<&str>,
) -> Result<Remembered, ImageError> {
    if !entry.arches.contains(&job.arch) {
        let have: Vec<&str> = entry.arches.iter().map(|arch| arch.name()).collect();
        let (image, have) = (entry.name.clone(), have.join(", "));
        return Err(ImageError::NoArch { image, arch: job.arch, have });
    }
    match &entry.kind {
        Kind::FcosStream { url, streams, release_url, keys } => {
            let (image, stream) = (&*entry.name, stream.unwrap_or(&streams[0]));
            let (release_url, keys) = (release_url.as_deref(), keys.as_ref());
            fcos::image(job, &Fcos { image, url, release_url, keys, stream, release })
        }
        Kind::CloudImage(image) => cloud::image(job, &entry.name, image, stream),
        Kind::Download { url, sha256 } => cloud::pinned(job, &entry.name, url, sha256),
        Kind::Registry { reference } => registry::image(job, reference),
        Kind::Imported => imported::image(job, &entry.name),
        Kind::Recipe => recipe::image(job, &entry.name),
    }
}

fn prepared(job: &Job<'_>, source: &Source<'_>, found: Remembered) -> Prepared {
    let (user, provisioner) = match source {
        Source::Named { entry, .. } => (entry.user.clone(), entry.provisioner),
        // What podman publishes for its machines is Fedora CoreOS.
        Source::Registry { .. } => (DEFAULT_USER.to_owned(), Provisioner::Ignition),
        _ => (DEFAULT_USER.to_owned(), Provisioner::Auto),
    };
    let systemd = !matches!(source, Source::Named { entry, .. } if !entry.systemd);
    let pin = ImagePin {
        source: source.spelling(),
        stream: found.stream,
        release: found.release,
        arch: job.arch,
        sha256: found.sha256,
        format: found.format,
        virtual_size: found.virtual_size,
        verified: found.verified,
    };
    Prepared { base: job.cache.base_path(&pin), pin, user, provisioner, systemd }
}
