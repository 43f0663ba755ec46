//! Names that mean another file from time to time: a stream, a version, a tag.

use super::cache::{Key, Remembered};
use super::catalog::Keys;
use super::choices::Pull;
use super::error::ImageError;
use super::prepare::Job;
use super::signature;

/// A name, and what is known of the files it means.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    pub key: &'a Key,
    /// In full, as the user could type it.
    pub spelling: &'a str,
    /// Who may sign the files, where anybody does.
    pub keys: Option<&'a Keys>,
    /// It means one file for good: once that is here, nobody need be asked.
    pub is_fixed: bool,
}

impl<'a> Name<'a> {
    /// One whose files nobody signs.
    pub fn unsigned(key: &'a Key, spelling: &'a str) -> Self {
        Self { key, spelling, keys: None, is_fixed: false }
    }

    fn pull(&self, job: &Job<'_>) -> Pull {
        match job.settings.pull {
            Pull::Newer if self.is_fixed => Pull::Missing,
            pull => pull,
        }
    }
}

/// What the name gave before, if that was checked as is asked for now, or by
/// the user's wish what `newest` finds now.
pub fn tracked(
    job: &Job<'_>,
    name: &Name<'_>,
    newest: impl FnOnce() -> Result<Remembered, ImageError>,
) -> Result<Remembered, ImageError> {
    let cached = job.cache.recall(name.key);
    let suffices = |found: &Remembered| signature::suffices(job, found, name.keys);
    let suffices = cached.as_ref().map(suffices).transpose()?;
    match (cached.filter(|_| suffices == Some(true)), name.pull(job)) {
        (Some(found), Pull::Never | Pull::Missing) => Ok(found),
        (None, Pull::Never) => Err(match suffices {
            Some(_) => signature::not_checked(name.spelling),
            None => ImageError::NotCached(name.spelling.to_owned()),
        }),
        (cached, _) => match newest() {
            Ok(found) => {
                let source = name.spelling.to_owned();
                let found = Remembered { source, arch: Some(job.arch), ..found };
                job.cache.remember(name.key, &found)?;
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
