//! In place of the client where this program is built without it.

use super::RegistryError;
use crate::image::cache::Remembered;
use crate::image::error::ImageError;
use crate::image::prepare::Job;

/// Always the error that says why.
pub fn image(_: &Job<'_>, reference: &str) -> Result<Remembered, ImageError> {
    let source = RegistryError::NotBuiltIn;
    Err(ImageError::Registry { reference: reference.to_owned(), source })
}
