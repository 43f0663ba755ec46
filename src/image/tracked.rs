//! Names that mean another file from time to time: a stream, a version, a tag.

use super::cache::{Key, Remembered};
use super::choices::Pull;
use super::error::ImageError;
use super::prepare::Job;

/// What a name gives that means another file from time to time: what it gave
/// before, or by the user's wish what `newest` finds now.
pub fn tracked(
    job: &Job<'_>,
    key: &Key,
    spelling: &str,
    newest: impl FnOnce() -> Result<Remembered, ImageError>,
) -> Result<Remembered, ImageError> {
    match (job.cache.recall(key), job.settings.pull) {
        (Some(found), Pull::Never | Pull::Missing) => Ok(found),
        (None, Pull::Never) => Err(ImageError::NotCached(spelling.to_owned())),
        (cached, _) => match newest() {
            Ok(found) => {
                let found =
                    Remembered { source: spelling.to_owned(), arch: Some(job.arch), ..found };
                job.cache.remember(key, &found)?;
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
