//! Which accelerators a host may have, and which CPU each gives the guest.
//! Pure: whether one works is `probe`'s question.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::machine::config::Arch;

/// What runs the guest's instructions, as QEMU's `-accel` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    Kvm,
    Hvf,
    Whpx,
    /// QEMU's own translator: works everywhere, 5 to 20 times slower.
    Tcg,
}

impl Accelerator {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
            Self::Whpx => "whpx",
            Self::Tcg => "tcg",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Operating systems nsvm runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Os {
    Linux,
    MacOs,
    Windows,
}

/// The host, as far as the choice of QEMU and its options depends on it. A
/// value and not `cfg`, so that every host's answers are tested on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    pub os: Os,
    pub arch: Arch,
}

impl Host {
    pub fn current() -> Self {
        let os = match std::env::consts::OS {
            "windows" => Os::Windows,
            "macos" => Os::MacOs,
            _ => Os::Linux,
        };
        Self { os, arch: Arch::host() }
    }

    /// The accelerator this system is known for.
    const fn native(self) -> Accelerator {
        match self.os {
            Os::Linux => Accelerator::Kvm,
            Os::MacOs => Accelerator::Hvf,
            Os::Windows => Accelerator::Whpx,
        }
    }
}

/// An accelerator with the CPU model to run under it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Candidate {
    pub accelerator: Accelerator,
    pub cpu_model: String,
}

impl Candidate {
    fn new(accelerator: Accelerator, guest: Arch) -> Self {
        Self { accelerator, cpu_model: cpu_model(accelerator, guest).to_owned() }
    }

    /// The translator with the CPU model this guest runs best on.
    pub fn tcg(guest: Arch) -> Self {
        Self::new(Accelerator::Tcg, guest)
    }
}

/// What to try for a guest on a host, best first; the last one is always TCG.
/// A guest of another architecture can only be translated.
pub fn candidates(host: Host, guest: Arch) -> Vec<Candidate> {
    let native = (host.arch == guest).then(|| Candidate::new(host.native(), guest));
    native.into_iter().chain([Candidate::tcg(guest)]).collect()
}

/// The CPU model (`-cpu`) for an accelerator.
const fn cpu_model(accelerator: Accelerator, guest: Arch) -> &'static str {
    match (accelerator, guest) {
        // WHPX refuses `host` on x86. Neither nested virtualisation nor MONITOR exist
        // below it; with them announced, guests fault (podman runs it so).
        (Accelerator::Whpx, Arch::X86_64) => "max,vmx=off,monitor=off",
        // ERMS makes the kernel copy and clear memory by `rep movsb`, which
        // TCG translates byte by byte: 4.5 s of an 18 s boot.
        (Accelerator::Tcg, Arch::X86_64) => "max,-erms",
        // The architected pointer authentication algorithm (QARMA) is up to
        // half of all time when emulated.
        (Accelerator::Tcg, Arch::Aarch64) => "max,pauth-impdef=on",
        (Accelerator::Kvm | Accelerator::Hvf | Accelerator::Whpx, _) => "host",
    }
}

/// The accelerator in use and why the better ones are not: what `inspect` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Choice {
    pub in_use: Accelerator,
    pub cpu_model: String,
    pub rejected: Vec<Rejection>,
}

/// An accelerator that would be better but does not work here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Rejection {
    pub name: Accelerator,
    pub reason: String,
    /// What the user can do about it, where anything is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: [(Os, &str); 3] = [(Os::Linux, "kvm"), (Os::MacOs, "hvf"), (Os::Windows, "whpx")];

    fn names(host: Host, guest: Arch) -> Vec<&'static str> {
        candidates(host, guest).iter().map(|c| c.accelerator.name()).collect()
    }

    #[test]
    fn each_system_tries_its_own_accelerator_and_then_the_translator() {
        for (os, native) in HOSTS {
            for arch in [Arch::X86_64, Arch::Aarch64] {
                assert_eq!(names(Host { os, arch }, arch), [native, "tcg"]);
            }
        }
    }

    #[test]
    fn a_foreign_guest_is_translated() {
        for (os, _) in HOSTS {
            assert_eq!(names(Host { os, arch: Arch::X86_64 }, Arch::Aarch64), ["tcg"]);
            assert_eq!(names(Host { os, arch: Arch::Aarch64 }, Arch::X86_64), ["tcg"]);
        }
    }

    #[test]
    fn the_translator_never_gets_plain_max() {
        assert_eq!(Candidate::tcg(Arch::X86_64).cpu_model, "max,-erms");
        assert_eq!(Candidate::tcg(Arch::Aarch64).cpu_model, "max,pauth-impdef=on");
    }

    #[test]
    fn a_choice_has_the_keys_that_inspect_shows() {
        let choice = Choice {
            in_use: Accelerator::Tcg,
            cpu_model: "max,-erms".into(),
            rejected: vec![Rejection { name: Accelerator::Kvm, reason: "no".into(), hint: None }],
        };
        let json = serde_json::to_value(&choice).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "InUse": "tcg", "CpuModel": "max,-erms",
                "Rejected": [{"Name": "kvm", "Reason": "no"}],
            })
        );
        assert_eq!(serde_json::from_value::<Choice>(json).unwrap(), choice);
    }
}
