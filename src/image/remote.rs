//! Files that are downloaded: of a known digest, from the first place that has
//! them, and signed where their publisher signs.

use std::io::Read;

use url::Url;

use super::cache::{DOWNLOAD, Key, Remembered};
use super::choices::Pull;
use super::error::ImageError;
use super::fetch::{FetchError, open_file};
use super::ingest::{Expected, Incoming, ingest, last_part};
use super::prepare::Job;
use super::saved::Saved;
use super::signature::{self, Checked, Plan, Published};
use crate::machine::verified::Verified;

/// A URL of the user's own, with the digest of the file there.
pub fn url(job: &Job<'_>, url: &Url, sha256: &str) -> Result<Remembered, ImageError> {
    download(job, url, Expected { source_sha256: Some(sha256), ..Expected::default() })
}

/// A file whose digest is known. It is remembered by that digest, so the same
/// file from another server is not downloaded again.
pub fn download(
    job: &Job<'_>,
    url: &Url,
    expected: Expected<'_>,
) -> Result<Remembered, ImageError> {
    let published = Published { what: url.as_str(), ..Published::default() };
    download_from(job, &Download { places: vec![url.clone()], expected, published })
}

/// A file to download.
#[derive(Debug)]
pub struct Download<'a> {
    /// At least one, in the order to try.
    pub places: Vec<Url>,
    pub expected: Expected<'a>,
    pub published: Published<'a>,
}

/// The same, with a signature, and from the first place that has the right
/// bytes. What is in the cache counts if its signature was checked as much as
/// is asked for now.
pub fn download_from(job: &Job<'_>, wanted: &Download<'_>) -> Result<Remembered, ImageError> {
    let (expected, published) = (wanted.expected, &wanted.published);
    let key = Key::new(DOWNLOAD, &[expected.source()]);
    let suffices = |found: &Remembered| signature::suffices(job, found, published.keys);
    job.cache.obtain_if(&key, published.what, job, suffices, || {
        if job.settings.pull == Pull::Never {
            return Err(match job.cache.recall(&key) {
                Some(_) => signature::not_checked(published.what),
                None => ImageError::NotCached(published.what.to_owned()),
            });
        }
        let plan = signature::plan(job, published)?;
        let transfer = |url: &Url| Transfer { job, key: &key, url, expected, plan: &plan }.run();
        let found = first_that_answers(job, &wanted.places, transfer)?;
        let verified = Verified {
            sha256: !expected.source().is_empty(),
            disk_sha256: expected.disk_sha256.is_some(),
            signature: plan.outcome(),
        };
        Ok(Remembered { verified, ..found })
    })
}

/// What the first of `places` gives. A mirror that is gone, or has something
/// else, costs only a warning.
pub fn first_that_answers<T>(
    job: &Job<'_>,
    places: &[Url],
    get: impl Fn(&Url) -> Result<T, ImageError>,
) -> Result<T, ImageError> {
    let last = places.len().saturating_sub(1);
    for (i, url) in places.iter().enumerate() {
        match get(url) {
            Err(error) if i < last && is_the_servers(&error) => {
                job.progress.warn(format!("Trying the next server: {error}"));
            }
            done => return done,
        }
    }
    Err(ImageError::NotCached("no server".to_owned()))
}

/// Whether another server may do better.
fn is_the_servers(error: &ImageError) -> bool {
    matches!(
        error,
        ImageError::Fetch(_)
            | ImageError::Stream { .. }
            | ImageError::Mismatch { .. }
            | ImageError::Damaged { .. }
            | ImageError::Signature { .. }
    )
}

/// A download from one place.
struct Transfer<'a> {
    job: &'a Job<'a>,
    key: &'a Key,
    url: &'a Url,
    expected: Expected<'a>,
    plan: &'a Plan,
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

impl Transfer<'_> {
    /// Goes on with saved bytes; once more from the beginning if those were the
    /// wrong ones.
    fn run(&self) -> Result<Remembered, ImageError> {
        match self.attempt() {
            Err(Attempt::Anew(_)) => self.attempt(),
            done => done,
        }
        .map_err(Attempt::into_error)
    }

    /// Goes on with what is saved. That of an interrupted download stays saved,
    /// and that of a finished one until the cache remembers what it has given.
    fn attempt(&self) -> Result<Remembered, Attempt> {
        let saved = Saved::find(self.job.cache, self.key, self.url);
        let result = self.take_in(&saved);
        match &result {
            Ok(_) => {}
            // What was kept is checked with the rest: whatever the server said
            // meanwhile (a login page, say), it may be worth going on with.
            Err(ImageError::Fetch(e)) if !matches!(e, FetchError::Changed { .. }) => {
                saved.remove_if_empty();
            }
            Err(ImageError::Cancelled | ImageError::NoSpace { .. }) => saved.remove_if_empty(),
            Err(_) => saved.remove(),
        }
        result.map_err(|error| match error {
            ImageError::Fetch(FetchError::Changed { .. }) => Attempt::Anew(error),
            ImageError::Mismatch { .. }
            | ImageError::Damaged { .. }
            | ImageError::Signature { .. }
                if saved.known().is_some() =>
            {
                Attempt::Anew(error)
            }
            error => Attempt::Final(error),
        })
    }

    fn take_in(&self, saved: &Saved<'_>) -> Result<Remembered, ImageError> {
        let (job, url) = (self.job, self.url);
        let http = job.http(url)?;
        let (reader, length): (Box<dyn Read + Send>, _) = if let Some(file) = open_file(url)? {
            let length = file.metadata().map_or(None, |found| Some(found.len()));
            (Box::new(file), length)
        } else if let Some(whole) = saved.whole() {
            (Box::new(whole), saved.known().and_then(|known| known.total))
        } else {
            let body = http.body(url, saved.known())?;
            let total = body.total();
            (Box::new(saved.with(body)?), total)
        };
        let reader = match self.plan {
            Plan::Check(matched) => Box::new(Checked::new(reader, url.as_str(), matched.start())),
            Plan::Skip(_) => reader,
        };
        let incoming = Incoming {
            reader,
            length,
            source: url.as_str(),
            activity: format!("Downloading {}", last_part(url.path())),
            expected: self.expected,
        };
        ingest(job, self.key, incoming)
    }
}
