//! Finds the QEMU program for an architecture and asks it what it is.

use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::accel::{Host, Os};
use super::cache::{Cache, Features, Identity};
use super::facts::FactsError;
use super::version::Version;
use crate::host::{self, Bounded};
use crate::machine::config::Arch;

/// QEMU answers `--version` in 25 ms; a busy host may take longer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The version is in the first of three lines.
const ANSWER_MAX: u64 = 1024;

/// A QEMU program that is there, runs and is new enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    pub identity: Identity,
    pub features: Features,
}

impl Qemu {
    pub fn path(&self) -> &Path {
        &self.identity.path
    }
}

/// What [`locate`] needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub host: Host,
    pub guest: Arch,
    /// The user's own choice: a path, or a name to look up on PATH.
    pub chosen: Option<&'a Path>,
}

/// The user's choice if there is one, else the first of PATH and of the places
/// where installers put QEMU without telling PATH.
pub fn locate(wanted: &Wanted<'_>, cache: &mut Cache) -> Result<Qemu, FactsError> {
    let path = match wanted.chosen {
        Some(chosen) => {
            which::which(chosen).map_err(|_| FactsError::ChosenAbsent(chosen.to_owned()))?
        }
        None => search(wanted).ok_or_else(|| FactsError::absent(wanted))?,
    };
    let identity = Identity::of(&path)
        .map_err(|source| FactsError::Unusable { path: path.clone(), source })?;
    let features = if let Some(known) = cache.features(&identity) {
        known
    } else {
        let features = ask(&path)?;
        cache.learn_features(&identity, features);
        features
    };
    check_version(&path, features.version, wanted)?;
    Ok(Qemu { identity, features })
}

fn search(wanted: &Wanted<'_>) -> Option<PathBuf> {
    let program = program(wanted.guest);
    which::which(&program).ok().or_else(|| {
        let places = places(wanted.host.os, host::qemu_directory());
        places.iter().map(|dir| with_suffix(&dir.join(&program))).find(|path| path.is_file())
    })
}

/// The directories beyond PATH, in their order: what an installer has written
/// down (Windows), then where installers put QEMU.
fn places(os: Os, written_down: Option<PathBuf>) -> Vec<PathBuf> {
    written_down.into_iter().chain(well_known(os).iter().map(PathBuf::from)).collect()
}

/// The program's name, without the `.exe` of Windows.
pub fn program(guest: Arch) -> String {
    format!("qemu-system-{}", guest.name())
}

fn with_suffix(path: &Path) -> PathBuf {
    path.with_extension(std::env::consts::EXE_EXTENSION)
}

/// Homebrew (Apple silicon, Intel), `MacPorts`; the Windows installer. On Linux
/// a QEMU that is not on PATH is one the user does not want.
const fn well_known(os: Os) -> &'static [&'static str] {
    match os {
        Os::Linux => &[],
        Os::MacOs => &["/opt/homebrew/bin", "/usr/local/bin", "/opt/local/bin"],
        Os::Windows => &[r"C:\Program Files\qemu", r"C:\msys64\ucrt64\bin"],
    }
}

/// Asks a program for its version. Options are read in order, so `-sandbox`
/// before `--version` tells in the same run whether it knows that option.
fn ask(path: &Path) -> Result<Features, FactsError> {
    let (version, sandbox) = match banner(path, &["-sandbox", "on", "--version"]) {
        Ok(version) => (version, true),
        Err(_) => (banner(path, &["--version"])?, false),
    };
    // Lists its properties, or ends as one that does not know it.
    let microvm = output(path, &["-machine", "microvm,help"]).is_ok_and(|text| text.is_some());
    Ok(Features { version, sandbox, microvm })
}

fn banner(path: &Path, args: &[&str]) -> Result<Version, FactsError> {
    let text = output(path, args)
        .map_err(|source| FactsError::Unusable { path: path.to_owned(), source })?;
    let version = text.and_then(|text| Version::from_banner(&text));
    version.ok_or_else(|| FactsError::NotQemu(path.to_owned()))
}

/// The start of what a program prints, if it ends well and in time. A file
/// takes it, since a pipe that nobody reads would stop the program.
fn output(path: &Path, args: &[&str]) -> io::Result<Option<String>> {
    let mut printed = tempfile::tempfile()?;
    let mut command = Command::new(path);
    command.args(args).stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(Stdio::null());
    let status = Bounded::start(&mut command, ANSWER_DEADLINE)?.wait()?;
    if !status.is_some_and(|status| status.success()) {
        return Ok(None);
    }
    let mut text = Vec::new();
    printed.rewind()?;
    printed.take(ANSWER_MAX).read_to_end(&mut text)?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

fn check_version(path: &Path, found: Version, wanted: &Wanted<'_>) -> Result<(), FactsError> {
    let floor = Version::floor(wanted.host.os);
    if found >= floor {
        return Ok(());
    }
    Err(FactsError::TooOld { path: path.to_owned(), found, floor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_that_is_not_there_is_named() {
        let chosen = Path::new("/nonexistent/qemu");
        let wanted = Wanted { host: Host::current(), guest: Arch::X86_64, chosen: Some(chosen) };
        let error = locate(&wanted, &mut Cache::default()).unwrap_err();
        assert!(error.to_string().contains("\"/nonexistent/qemu\""), "{error}");
    }

    #[test]
    fn an_old_program_is_refused_with_both_versions() {
        let host = Host { os: Os::Windows, arch: Arch::X86_64 };
        let wanted = Wanted { host, guest: Arch::X86_64, chosen: None };
        let path = Path::new("qemu-system-x86_64");
        assert!(check_version(path, Version::new(7, 2, 0), &wanted).is_ok());
        let error = check_version(path, Version::new(6, 2, 0), &wanted).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("6.2.0") && text.contains("7.2.0"), "{text}");
    }

    #[test]
    fn an_installers_word_comes_before_the_usual_places() {
        let at = |os, written: Option<&str>| places(os, written.map(PathBuf::from));
        let usual = [r"C:\Program Files\qemu", r"C:\msys64\ucrt64\bin"].map(PathBuf::from);
        assert_eq!(at(Os::Windows, None), usual);
        let found = at(Os::Windows, Some(r"D:\Tools\QEMU"));
        assert_eq!((&found[0], &found[1..]), (&PathBuf::from(r"D:\Tools\QEMU"), &usual[..]));
        let mac = ["/opt/homebrew/bin", "/usr/local/bin", "/opt/local/bin"].map(PathBuf::from);
        assert_eq!(at(Os::MacOs, None), mac);
        assert_eq!(at(Os::Linux, None), Vec::<PathBuf>::new());
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_is_no_qemu_says_so() {
        let wanted =
            Wanted { host: Host::current(), guest: Arch::X86_64, chosen: Some(Path::new("true")) };
        let error = locate(&wanted, &mut Cache::default()).unwrap_err();
        assert!(matches!(error, FactsError::NotQemu(_)), "{error}");
    }
}
