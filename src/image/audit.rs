//! Is a base image still what its name says? Read and hashed whole, as when it
//! came in.

use std::fs::File;
use std::sync::atomic::AtomicBool;

use super::cache::{Base, Cache};
use super::error::ImageError;
use super::hashing::Hashing;
use super::prepare::{Job, Settings};
use super::qcow2;
use super::watch::Watch;
use crate::machine::config::{Arch, DiskFormat};
use crate::machine::event::Progress;

/// Reads the whole base. The inner error is what is wrong with it.
pub fn audit(
    cache: &Cache,
    base: &Base,
    progress: &dyn Progress,
    cancel: &AtomicBool,
) -> Result<Result<(), String>, ImageError> {
    let unreadable = |source| ImageError::Read { path: base.path.clone(), source };
    let name = base.path.display().to_string();
    let mut file = File::open(&base.path).map_err(unreadable)?;
    let settings = Settings::default();
    let job =
        Job { cache, settings: &settings, arch: Arch::host(), progress, cancel, bearer: None };
    let activity = format!("Checking {}", base.short());
    let mut hashing = Hashing::new(Watch::new(&file, job, &name, activity, Some(base.length)));
    hashing.drain().map_err(|e| match e.downcast::<ImageError>() {
        Ok(error) => error,
        Err(e) => unreadable(e),
    })?;
    let found = hashing.digest();
    if found != base.sha256 {
        return Ok(Err(format!("its SHA-256 is {found}")));
    }
    if base.format == DiskFormat::Qcow2 {
        let checked = qcow2::check(&mut file, base.length).map_err(unreadable)?;
        return Ok(checked.map(drop).map_err(|problem| problem.about(&name).to_string()));
    }
    Ok(Ok(()))
}
