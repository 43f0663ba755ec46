//! Taking a disk image of this host into the cache, under a name.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::Images;
use crate::app::Context;
use crate::image::{self, DEFAULT_USER, Import, Provisioner, Remembered};
use crate::machine::config::Arch;
use crate::machine::event::Progress;

/// What the user wants.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    pub file: PathBuf,
    /// `None`: made from the file's name.
    pub name: Option<String>,
    pub sha256: Option<String>,
    pub arch: Arch,
    pub user: Option<String>,
    pub provisioner: Provisioner,
}

/// Copies the file, verified, and gives it the name; returns both.
pub fn import(
    context: &Context,
    request: &ImportRequest,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> anyhow::Result<Remembered> {
    let images = Images::open(context)?;
    let file = std::path::absolute(&request.file)?;
    let wanted = Import {
        file: &file,
        name: request.name.clone().unwrap_or_else(|| image::name_of(&file)),
        sha256: request.sha256.as_deref(),
        arch: request.arch,
        user: request.user.clone().unwrap_or_else(|| DEFAULT_USER.to_owned()),
        provisioner: request.provisioner,
    };
    Ok(image::import(&images.cache, &wanted, &images.settings, progress, interrupted)?)
}
