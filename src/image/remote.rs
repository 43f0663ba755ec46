//! Images that are downloaded: a URL with a digest, and an FCOS stream.

use std::io::Read;

use url::Url;

use super::cache::{Key, Remembered};
use super::choices::Pull;
use super::error::ImageError;
use super::fetch::{FetchError, Http, is_loopback};
use super::ingest::{Expected, Incoming, ingest, last_part};
use super::prepare::Job;
use super::saved::Saved;
use super::stream::{Artifact, Stream, StreamError};

/// Stream metadata has about 60 KB.
const METADATA_MAX: usize = 4 << 20;

/// A URL of the user's own, with the digest of the file there.
pub fn url(job: &Job<'_>, url: &Url, sha256: &str) -> Result<Remembered, ImageError> {
    download(job, url, Expected { source_sha256: Some(sha256), disk_sha256: None })
}

/// The newest release of an FCOS stream.
pub fn fcos(
    job: &Job<'_>,
    image: &str,
    template: &str,
    stream: &str,
) -> Result<Remembered, ImageError> {
    let address = match &job.settings.stream_url {
        Some(url) => url.clone(),
        None => template.replace("{stream}", stream),
    };
    let key = Key::new(&format!("{image}-{stream}-{}", job.arch.name()), &[&address]);
    let cached = job.cache.recall(&key);
    let spelling = format!("{image}:{stream}");
    match (cached, job.settings.pull) {
        (Some(found), Pull::Never | Pull::Missing) => Ok(found),
        (None, Pull::Never) => Err(ImageError::NotCached(spelling)),
        (cached, _) => match newest(job, &spelling, &address) {
            Ok(found) => {
                job.cache.remember(&key, &found)?;
                Ok(found)
            }
            Err(error) => older(job, cached, error),
        },
    }
}

/// A server that does not answer costs only the newest release.
fn older(
    job: &Job<'_>,
    cached: Option<Remembered>,
    error: ImageError,
) -> Result<Remembered, ImageError> {
    match cached {
        Some(found) if matches!(error, ImageError::Fetch(_)) => {
            job.progress.warn(format!("Using the image in the cache: {error}"));
            Ok(found)
        }
        _ => Err(error),
    }
}

fn newest(job: &Job<'_>, spelling: &str, address: &str) -> Result<Remembered, ImageError> {
    job.progress.step(format!("Looking up the newest release of {spelling}"));
    let refused =
        |reason: &str| ImageError::Url { url: address.to_owned(), reason: reason.to_owned() };
    let url = Url::parse(address).map_err(|e| refused(&e.to_string()))?;
    if !is_protected(&url) {
        return Err(refused("stream metadata comes over https (or http from this host itself)"));
    }
    let text = Http::new(&url, job.settings.patience, job.cancel)?.text(&url, METADATA_MAX)?;
    let unusable = |source| ImageError::Stream { url: address.to_owned(), source };
    let stream = Stream::parse(&text).map_err(unusable)?;
    let (release, artifact) = stream.disk(job.arch).map_err(unusable)?;
    let location = location(artifact).map_err(unusable)?;
    let expected = Expected {
        source_sha256: Some(&artifact.sha256),
        disk_sha256: artifact.uncompressed_sha256.as_deref(),
    };
    let found = download(job, &location, expected)?;
    let (stream, release) = (Some(stream.name().to_owned()), Some(release.to_owned()));
    Ok(Remembered { stream, release, ..found })
}

fn location(artifact: &Artifact) -> Result<Url, StreamError> {
    let url = Url::parse(&artifact.location).ok().filter(is_protected);
    url.ok_or_else(|| StreamError::Location(artifact.location.clone()))
}

/// Whether nobody on the way can change what comes from there.
fn is_protected(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// A file whose digest is known. It is remembered by that digest, so the same
/// file from another server is not downloaded again.
fn download(job: &Job<'_>, url: &Url, expected: Expected<'_>) -> Result<Remembered, ImageError> {
    let sha256 = expected.source_sha256.unwrap_or_default();
    let key = Key::new("download", &[sha256]);
    job.cache.obtain(&key, url.as_str(), job, || {
        if job.settings.pull == Pull::Never {
            return Err(ImageError::NotCached(url.to_string()));
        }
        match attempt(job, &key, url, expected) {
            Err(Attempt::Anew(_)) => attempt(job, &key, url, expected),
            done => done,
        }
        .map_err(Attempt::into_error)
    })
}

/// Why an attempt failed.
enum Attempt {
    /// Another one may succeed if it begins with nothing.
    Anew(ImageError),
    Final(ImageError),
}

impl Attempt {
    fn into_error(self) -> ImageError {
        let (Self::Anew(error) | Self::Final(error)) = self;
        error
    }
}

/// Goes on with what is saved. Only an interrupted download stays saved.
fn attempt(
    job: &Job<'_>,
    key: &Key,
    url: &Url,
    expected: Expected<'_>,
) -> Result<Remembered, Attempt> {
    let saved = Saved::find(job.cache, key, url);
    let result = transfer(job, key, url, &saved, expected);
    match &result {
        Err(ImageError::Cancelled) => saved.remove_if_empty(),
        Err(ImageError::Fetch(e)) if e.is_passing() => saved.remove_if_empty(),
        _ => saved.remove(),
    }
    result.map_err(|error| match error {
        ImageError::Fetch(FetchError::Changed { .. }) => Attempt::Anew(error),
        ImageError::Mismatch { .. } | ImageError::Damaged { .. } if saved.known().is_some() => {
            Attempt::Anew(error)
        }
        error => Attempt::Final(error),
    })
}

fn transfer(
    job: &Job<'_>,
    key: &Key,
    url: &Url,
    saved: &Saved<'_>,
    expected: Expected<'_>,
) -> Result<Remembered, ImageError> {
    let http = Http::new(url, job.settings.patience, job.cancel)?;
    let (reader, length): (Box<dyn Read>, _) = if let Some(whole) = saved.whole() {
        (Box::new(whole), saved.known().and_then(|known| known.total))
    } else {
        let body = http.body(url, saved.known())?;
        let total = body.total();
        (Box::new(saved.with(body)?), total)
    };
    let incoming = Incoming {
        reader,
        length,
        source: url.as_str(),
        activity: format!("Downloading {}", last_part(url.path())),
        expected,
    };
    ingest(job, key, incoming)
}
