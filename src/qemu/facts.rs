//! Everything a start must know about QEMU on this host: the program, the
//! firmware and the accelerator. One call, [`survey`]; its second answer comes
//! from the cache and starts no process.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::accel::{Choice, Os, Rejection, candidates};
use super::cache::{Asked, Cache};
use super::choose::{NoneWorks, Prober, choose};
use super::faults::sort_out;
use super::firmware::{Firmware, first_present, search_list};
use super::locate::{Qemu, Wanted, locate, program};
use super::probe::ProbeVm;
use super::version::Version;
use crate::host;
use crate::machine::config::Arch;
use crate::machine::event::Progress;

/// Why no VM can be started here.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    #[error("cannot find QEMU (\"{program}\")")]
    Absent { program: String, hint: String },
    #[error("cannot find QEMU \"{}\", which NSVM_QEMU names", .0.display())]
    ChosenAbsent(PathBuf),
    #[error("cannot run QEMU \"{}\": {source}", path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error("\"{}\" does not answer --version as QEMU does", .0.display())]
    NotQemu(PathBuf),
    #[error("QEMU \"{}\" is version {found}, and {floor} is the oldest that works", path.display())]
    TooOld { path: PathBuf, found: Version, floor: Version },
    #[error("cannot find UEFI firmware for {} guests", guest.name())]
    NoFirmware { guest: Arch, hint: String },
    #[error("QEMU \"{}\" cannot run a VM here{}", path.display(), reasons(.rejected))]
    NothingWorks { path: PathBuf, rejected: Vec<Rejection> },
}

impl FactsError {
    /// The program for a guest is not installed.
    pub(super) fn absent(wanted: &Wanted<'_>) -> Self {
        let hint = install_hint(wanted.host.os, wanted.guest, on_path);
        Self::Absent { program: program(wanted.guest), hint }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Absent { hint, .. } | Self::NoFirmware { hint, .. } => Some(hint.clone()),
            Self::ChosenAbsent(_) | Self::NotQemu(_) => {
                Some("Set NSVM_QEMU to a qemu-system-* program, or unset it.".into())
            }
            Self::Unusable { .. } => None,
            Self::TooOld { floor, .. } => {
                Some(format!("Install QEMU {floor} or newer, or set NSVM_QEMU to such a program."))
            }
            Self::NothingWorks { rejected, .. } => {
                rejected.iter().find_map(|rejection| rejection.hint.clone())
            }
        }
    }
}

fn reasons(rejected: &[Rejection]) -> String {
    rejected.iter().fold(String::new(), |mut text, Rejection { name, reason, .. }| {
        let separator = if text.is_empty() { ": " } else { "; " };
        let _ = write!(text, "{separator}{name}: {reason}");
        text
    })
}

/// What [`survey`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub qemu: Qemu,
    /// The firmware to load; none where QEMU's own default is right.
    pub firmware: Option<Firmware>,
    pub choice: Choice,
    /// The rate of this host's time stamp counter, for a board on which guests need to
    /// be told.
    pub tsc_khz: Option<u32>,
}

/// Finds QEMU, its firmware and the accelerator for a guest. `cache` is
/// `Dirs::probe_cache()`; not being able to write it is not an error.
pub fn survey(
    wanted: &Wanted<'_>,
    cache: &Path,
    progress: &dyn Progress,
) -> Result<Facts, FactsError> {
    survey_with(wanted, cache, |qemu| {
        Box::new(ProbeVm::new(qemu.path().to_owned(), wanted.guest, progress))
    })
}

/// [`survey`] with another way to run probe VMs, for tests.
pub fn survey_with<'p>(
    wanted: &Wanted<'_>,
    cache_file: &Path,
    prober: impl FnOnce(&Qemu) -> Box<dyn Prober + 'p>,
) -> Result<Facts, FactsError> {
    let mut cache = Cache::load(cache_file);
    let qemu = locate(wanted, &mut cache)?;
    let firmware = find_firmware(wanted, &qemu)?;
    let boot = host::boot_id();
    let asked = Asked { identity: &qemu.identity, boot: boot.as_deref(), now: SystemTime::now() };
    let (candidates, mut rejected) =
        sort_out(candidates(wanted.host, wanted.guest), wanted.host, qemu.features.version);
    let chosen = choose(&candidates, &*prober(&qemu), &mut cache, &asked);
    let mut choice = chosen.map_err(|NoneWorks(rejected)| FactsError::NothingWorks {
        path: qemu.path().to_owned(),
        rejected,
    })?;
    rejected.append(&mut choice.rejected);
    choice.rejected = rejected;
    // Not before: where nothing works, the cause may be a full disk or the
    // like, and what probes said then must not be believed tomorrow.
    if let Err(error) = cache.save(cache_file) {
        tracing::debug!(%error, path = %cache_file.display(), "cannot keep what probes found");
    }
    Ok(Facts { qemu, firmware, choice, tsc_khz: None })
}

fn find_firmware(wanted: &Wanted<'_>, qemu: &Qemu) -> Result<Option<Firmware>, FactsError> {
    let list = search_list(wanted.host.os, qemu.path(), wanted.guest);
    if list.is_empty() {
        return Ok(None);
    }
    first_present(&list).map(Some).ok_or_else(|| FactsError::NoFirmware {
        guest: wanted.guest,
        hint: install_hint(wanted.host.os, wanted.guest, on_path),
    })
}

fn on_path(program: &str) -> bool {
    which::which(program).is_ok()
}

/// The command that installs QEMU for a guest, by the package manager there is.
fn install_hint(os: Os, guest: Arch, has: impl Fn(&str) -> bool) -> String {
    let command = match os {
        Os::MacOs if has("port") && !has("brew") => "sudo port install qemu",
        Os::MacOs => "brew install qemu",
        Os::Windows => "winget install SoftwareFreedomConservancy.QEMU",
        Os::Linux => match linux_installs(guest).into_iter().find(|(manager, _)| has(manager)) {
            Some((_, command)) => command,
            None => return format!("Install the package that holds \"{}\".", program(guest)),
        },
    };
    format!("Run: {command}")
}

const fn linux_installs(guest: Arch) -> [(&'static str, &'static str); 5] {
    match guest {
        Arch::X86_64 => [
            ("apt-get", "sudo apt-get install qemu-system-x86"),
            ("dnf", "sudo dnf install qemu-system-x86-core"),
            ("pacman", "sudo pacman -S qemu-system-x86"),
            ("zypper", "sudo zypper install qemu-x86"),
            ("apk", "sudo apk add qemu-system-x86_64"),
        ],
        Arch::Aarch64 => [
            ("apt-get", "sudo apt-get install qemu-system-arm qemu-efi-aarch64"),
            ("dnf", "sudo dnf install qemu-system-aarch64-core edk2-aarch64"),
            ("pacman", "sudo pacman -S qemu-system-aarch64 edk2-aarch64"),
            ("zypper", "sudo zypper install qemu-arm qemu-uefi-aarch64"),
            ("apk", "sudo apk add qemu-system-aarch64 aavmf"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::accel::Accelerator;

    fn hint(os: Os, guest: Arch, has: &str) -> String {
        install_hint(os, guest, |program| program == has)
    }

    #[test]
    fn the_hint_names_this_systems_package_manager() {
        for (os, has, expected) in [
            (Os::Linux, "apt-get", "Run: sudo apt-get install qemu-system-x86"),
            (Os::Linux, "dnf", "Run: sudo dnf install qemu-system-x86-core"),
            (Os::Linux, "none", "Install the package that holds \"qemu-system-x86_64\"."),
            (Os::MacOs, "brew", "Run: brew install qemu"),
            (Os::MacOs, "port", "Run: sudo port install qemu"),
            (Os::Windows, "", "Run: winget install SoftwareFreedomConservancy.QEMU"),
        ] {
            assert_eq!(hint(os, Arch::X86_64, has), expected);
        }
        assert!(hint(Os::Linux, Arch::Aarch64, "apt-get").contains("qemu-efi-aarch64"));
    }

    #[test]
    fn an_error_about_accelerators_gives_every_reason() {
        let rejection = |name, reason: &str, hint: Option<&str>| Rejection {
            name,
            reason: reason.into(),
            hint: hint.map(str::to_owned),
        };
        let error = FactsError::NothingWorks {
            path: "/usr/bin/q".into(),
            rejected: vec![
                rejection(Accelerator::Kvm, "no device", Some("Load it.")),
                rejection(Accelerator::Tcg, "out of memory", None),
            ],
        };
        assert_eq!(
            error.to_string(),
            "QEMU \"/usr/bin/q\" cannot run a VM here: kvm: no device; tcg: out of memory"
        );
        assert_eq!(error.hint().as_deref(), Some("Load it."));
    }
}
