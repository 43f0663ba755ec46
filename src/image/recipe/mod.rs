//! Images that are built on this host by a recipe of shell scripts.
//!
//! The contract with a recipe: `sh build.sh --arch ARCH --check` names missing
//! packages; `sh build.sh --arch ARCH --out FILE --work DIR --packages-cache DIR`
//! makes the disk,
//! prints a line `build: ...` on stderr for each step, and cleans up when it
//! is terminated.

mod files;
mod run;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use crate::machine::config::Arch;

use super::cache::{Key, Remembered};
use super::choices::Pull;
use super::error::ImageError;
use super::ingest::adopt;
use super::prepare::Job;
use run::{Ended, Script};

/// What `--check` says before the names of packages.
const MISSING: &str = "missing Debian packages: ";

/// Why a recipe gave no image.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    #[error("this host cannot build it ({0})")]
    Host(String),
    #[error("packages are missing on this host: {0}")]
    Packages(String),
    #[error("the build ended with {status}; it said last:\n  {}", .tail.join("\n  "))]
    Failed { status: String, tail: Vec<String> },
    #[error("the build has said nothing for {minutes} minutes; it said last:\n  {}", .tail.join("\n  "))]
    Silent { minutes: u64, tail: Vec<String> },
    #[error("cannot work in the cache: {0}")]
    Io(#[from] io::Error),
}

impl RecipeError {
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Host(_) => {
                "Use --image fedora-coreos, or give --image the path of a disk image that was built \
                 on a Debian host"
                    .to_owned()
            }
            Self::Packages(names) => format!("Run: sudo apt-get install {names}"),
            Self::Failed { .. } | Self::Silent { .. } => {
                "Check that `apt-get update` works on this host, then run the command again, or use \
                 --image fedora-coreos"
                    .to_owned()
            }
            Self::Io(_) => {
                "Check that the image cache (NSVM_IMAGE_CACHE) is writable and has free space"
                    .to_owned()
            }
        };
        Some(text)
    }
}

/// The image that the recipe gives, built when the cache has none of this
/// recipe.
pub fn image(job: &Job<'_>, name: &str) -> Result<Remembered, ImageError> {
    let failed = |source| ImageError::Recipe { image: name.to_owned(), source };
    let files = files::of(name)
        .ok_or_else(|| failed(RecipeError::Host("this program has no recipe for it".to_owned())))?;
    let kind = format!("recipe-{name}-{}", job.arch.name());
    let key = Key::new(&kind, &[&files::digest(files)]);
    job.cache.obtain(&key, name, job, || {
        if job.settings.pull == Pull::Never {
            return Err(ImageError::NotCached(name.to_owned()));
        }
        let work = job.cache.work(&key);
        let made = build(job, name, files, &work);
        let _ = fs::remove_dir_all(&work);
        made
    })
}

fn build(
    job: &Job<'_>,
    name: &str,
    files: files::Files,
    work: &Path,
) -> Result<Remembered, ImageError> {
    let failed = |source| ImageError::Recipe { image: name.to_owned(), source };
    let full = |e| ImageError::cache(job.cache.dir(), e);
    // Of its own: what a killed build left may be busy for some seconds more.
    fs::create_dir_all(work).map_err(full)?;
    let work = tempfile::tempdir_in(work).map_err(full)?;
    let work = work.path();
    let recipe = unpack(files, work).map_err(full)?;
    let script = Script { path: recipe.join("build.sh"), image: name, job: *job };
    check(&script, is_debian())?.map_err(failed)?;
    let minutes = if job.arch == Arch::host() { "two" } else { "ten" };
    job.progress
        .step(format!("Building {name}, which takes about {minutes} minutes the first time"));
    let disk = work.join("disk.qcow2");
    let (scratch, packages) = (work.join("scratch"), job.cache.packages());
    let arguments = [
        ("--arch", Path::new(job.arch.name())),
        ("--out", disk.as_path()),
        ("--work", scratch.as_path()),
        ("--packages-cache", packages.as_path()),
    ];
    fs::create_dir_all(&packages).map_err(full)?;
    let arguments = arguments.iter().flat_map(|(name, path)| [name.as_ref(), path.as_os_str()]);
    script.run(arguments)?.and_then(Ended::success).map_err(failed)?;
    let mut made = adopt(job, &disk, name)?;
    made.arch = Some(job.arch);
    made.release = Some(files::digest(files)[..12].to_owned());
    Ok(made)
}

fn unpack(files: files::Files, work: &Path) -> io::Result<std::path::PathBuf> {
    let recipe = work.join("recipe");
    fs::create_dir(&recipe)?;
    for (name, text) in files {
        fs::write(recipe.join(name), text)?;
    }
    Ok(recipe)
}

/// Derivatives have an archive of their own, which lacks what is needed.
fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian")
}

/// Whether this host has what the recipe needs.
fn check(script: &Script<'_>, debian: bool) -> Result<Result<(), RecipeError>, ImageError> {
    let arguments = ["--arch", script.job.arch.name(), "--check"];
    let ended = match script.run(arguments.map(OsStr::new))? {
        Ok(ended) => ended,
        Err(RecipeError::Io(e)) => return Ok(Err(RecipeError::Host(format!("no sh: {e}")))),
        Err(e) => return Ok(Err(e)),
    };
    Ok(if ended.status.success() { Ok(()) } else { Err(unfit(&ended.tail, debian)) })
}

/// What a failed check means for the user.
fn unfit(said: &[String], debian: bool) -> RecipeError {
    let missing = said.iter().find_map(|line| line.split_once(MISSING));
    let names = missing.map(|(_, names)| names.split(" (").next().unwrap_or(names).trim());
    match names {
        Some(names) if debian => RecipeError::Packages(names.to_owned()),
        Some(names) => RecipeError::Host(format!("it is no Debian, and has no {names}")),
        None => RecipeError::Host(said.last().cloned().unwrap_or_else(|| "no reason given".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_names_the_way_out() {
        let said =
            ["build: missing Debian packages: mmdebstrap kmod (apt-get install mmdebstrap kmod)"
                .to_owned()];
        let error = unfit(&said, true);
        assert_eq!(error.hint().unwrap(), "Run: sudo apt-get install mmdebstrap kmod");
        let error = unfit(&said, false);
        assert!(error.to_string().contains("no Debian, and has no mmdebstrap kmod"), "{error}");
        assert!(error.hint().unwrap().contains("--image fedora-coreos"));
    }
}
