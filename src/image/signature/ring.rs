//! The keys to check signatures with: a file of the user's, trusted as it is,
//! or the publisher's ring, of which only pinned certificates count.
//!
//! The publisher's ring is fetched once and kept in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::SignatureError;
use crate::fs::{Access, write_atomic};
use crate::image::cache::Key;
use crate::image::catalog::Keys;
use crate::image::error::ImageError;
use crate::image::fetch::{FetchError, Patience, is_protected};
use crate::image::openpgp::Keyring;
use crate::image::prepare::Job;

/// Fedora's ring has about 100 KB.
const RING_MAX: usize = 8 << 20;

/// After this long the ring is asked for again, because a key may have been
/// revoked; the kept one serves when that fails.
const RING_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The keys are a second server: that it is gone is found out soon.
const TRIES: u32 = 2;

/// Where the keys come from.
pub enum Ring<'a> {
    File(PathBuf),
    Pinned(&'a Keys),
    None,
}

pub struct Found {
    pub keyring: Keyring,
    /// It comes from the cache.
    pub is_kept: bool,
}

/// Why there are no keys: a matter of this signature, or of everything.
pub enum Failure {
    Signature(SignatureError),
    Other(ImageError),
}

impl From<SignatureError> for Failure {
    fn from(error: SignatureError) -> Self {
        Self::Signature(error)
    }
}

impl<'a> Ring<'a> {
    /// `--keyring` comes before the keys the catalog names.
    pub fn of(job: &Job<'_>, keys: Option<&'a Keys>) -> Self {
        match (&job.settings.keyring, keys) {
            (Some(path), _) => Self::File(path.clone()),
            (None, Some(keys)) => Self::Pinned(keys),
            (None, None) => Self::None,
        }
    }

    /// The trusted keys, from the cache if they are there.
    pub fn keyring(&self, job: &Job<'_>) -> Result<Found, Failure> {
        match self {
            Self::File(path) => Ok(Found { keyring: file(path)?, is_kept: false }),
            Self::Pinned(keys) => pinned(job, keys),
            Self::None => Err(no_keys("its entry of the catalog names none")),
        }
    }

    /// The trusted keys as their publisher has them now.
    pub fn fresh(&self, job: &Job<'_>) -> Result<Keyring, Failure> {
        match self {
            Self::Pinned(keys) => renewed(job, keys),
            _ => self.keyring(job).map(|found| found.keyring),
        }
    }

    /// Whether no publisher could add anything to this keyring.
    pub fn is_complete(&self, keyring: &Keyring) -> bool {
        match self {
            Self::Pinned(keys) => keys.fingerprints.iter().all(|pin| keyring.has(pin)),
            _ => true,
        }
    }

    /// Whether a certificate, which was good once, is trusted now.
    pub fn trusts(&self, fingerprint: &str) -> Result<bool, SignatureError> {
        match self {
            Self::File(path) => Ok(file(path)?.has(fingerprint)),
            Self::Pinned(keys) => {
                Ok(keys.fingerprints.iter().any(|pin| pin.eq_ignore_ascii_case(fingerprint)))
            }
            Self::None => Ok(false),
        }
    }
}

fn no_keys(reason: impl Into<String>) -> Failure {
    SignatureError::NoKeys { reason: reason.into() }.into()
}

fn file(path: &Path) -> Result<Keyring, SignatureError> {
    let unusable = |reason| SignatureError::Keyring { path: path.to_owned(), reason };
    let bytes = fs::read(path).map_err(|e| unusable(e.to_string()))?;
    Keyring::parse(&bytes, None).map_err(unusable)
}

fn place(job: &Job<'_>, keys: &Keys) -> PathBuf {
    job.cache.keyring(&Key::new("keys", &[&keys.url]))
}

fn parse(bytes: &[u8], keys: &Keys) -> Result<Keyring, String> {
    Keyring::parse(bytes, Some(&keys.fingerprints))
}

/// The publisher's keys: those in the cache while they are young enough or
/// the publisher does not answer.
fn pinned(job: &Job<'_>, keys: &Keys) -> Result<Found, Failure> {
    let path = place(job, keys);
    let kept = fs::read(&path).ok().and_then(|bytes| parse(&bytes, keys).ok());
    let Some(keyring) = kept else {
        return Ok(Found { keyring: renewed(job, keys)?, is_kept: false });
    };
    if is_young(&path) {
        return Ok(Found { keyring, is_kept: true });
    }
    match renewed(job, keys) {
        Ok(keyring) => Ok(Found { keyring, is_kept: false }),
        Err(Failure::Signature(_)) => Ok(Found { keyring, is_kept: false }),
        Err(failure) => Err(failure),
    }
}

fn is_young(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|found| found.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < RING_KEPT))
}

/// Fetches the publisher's keys into the cache.
fn renewed(job: &Job<'_>, keys: &Keys) -> Result<Keyring, Failure> {
    let bytes = download(job, keys)?;
    let unusable = |reason| no_keys(format!("\"{}\": {reason}", keys.url));
    let keyring = parse(&bytes, keys).map_err(unusable)?;
    write_atomic(&place(job, keys), &bytes, Access::Default)
        .map_err(|e| Failure::Other(ImageError::cache(job.cache.dir(), e)))?;
    Ok(keyring)
}

fn download(job: &Job<'_>, keys: &Keys) -> Result<Vec<u8>, Failure> {
    let url = Url::parse(&keys.url).ok().filter(is_protected);
    let url = url.ok_or_else(|| no_keys(format!("\"{}\" is not https", keys.url)))?;
    let patience = Patience { tries: TRIES, ..job.settings.patience };
    let http = job.http_with(&url, patience).map_err(Failure::Other)?;
    http.text(&url, RING_MAX).map_err(|error| match error {
        FetchError::Cancelled => Failure::Other(ImageError::Cancelled),
        error => no_keys(error.to_string()),
    })
}
