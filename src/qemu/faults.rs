//! QEMUs that are new enough but known to be broken on a host. A probe VM would
//! see most of it; this knows the reason and the way out.

use super::accel::{Accelerator, Candidate, Host, Os, Rejection};
use super::version::Version;
use crate::machine::config::Arch;

struct Fault {
    host: Host,
    accelerator: Accelerator,
    first: Version,
    last: Version,
    reason: &'static str,
    hint: &'static str,
}

const KNOWN: [Fault; 2] = [
    Fault {
        host: Host { os: Os::MacOs, arch: Arch::Aarch64 },
        accelerator: Accelerator::Hvf,
        first: Version::new(6, 2, 0),
        last: Version::new(6, 2, u32::MAX),
        // lima-vm/lima#734
        reason: "today's Linux reads registers that it does not know before 7.0",
        hint: "Run: brew upgrade qemu",
    },
    Fault {
        host: Host { os: Os::MacOs, arch: Arch::X86_64 },
        accelerator: Accelerator::Hvf,
        first: Version::new(8, 0, 4),
        last: Version::new(8, 0, 4),
        // Homebrew/homebrew-core#139356
        reason: "it aborts with \"Unknown Error\" in 8.0.4",
        hint: "Run: brew upgrade qemu",
    },
];

/// The candidates that this version can run, and why it cannot run the others.
pub fn sort_out(
    candidates: Vec<Candidate>,
    host: Host,
    version: Version,
) -> (Vec<Candidate>, Vec<Rejection>) {
    let mut sound = Vec::new();
    let mut rejected = Vec::new();
    for candidate in candidates {
        match fault(candidate.accelerator, host, version) {
            Some(fault) => rejected.push(Rejection {
                name: candidate.accelerator,
                reason: fault.reason.to_owned(),
                hint: Some(fault.hint.to_owned()),
            }),
            None => sound.push(candidate),
        }
    }
    (sound, rejected)
}

fn fault(accelerator: Accelerator, host: Host, version: Version) -> Option<&'static Fault> {
    KNOWN.iter().find(|fault| {
        (fault.accelerator, fault.host) == (accelerator, host)
            && (fault.first..=fault.last).contains(&version)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::accel::candidates;

    fn names(host: Host, version: Version) -> (Vec<&'static str>, Vec<&'static str>) {
        let (sound, rejected) = sort_out(candidates(host, host.arch), host, version);
        let sound = sound.iter().map(|candidate| candidate.accelerator.name()).collect();
        assert!(rejected.iter().all(|rejection| rejection.hint.is_some()));
        (sound, rejected.iter().map(|rejection| rejection.name.name()).collect())
    }

    #[test]
    fn a_broken_version_leaves_the_translator() {
        let intel = Host { os: Os::MacOs, arch: Arch::X86_64 };
        assert_eq!(names(intel, Version::new(8, 0, 3)), (vec!["hvf", "tcg"], vec![]));
        assert_eq!(names(intel, Version::new(8, 0, 4)), (vec!["tcg"], vec!["hvf"]));
        assert_eq!(names(intel, Version::new(8, 1, 0)), (vec!["hvf", "tcg"], vec![]));
        let silicon = Host { os: Os::MacOs, arch: Arch::Aarch64 };
        assert_eq!(names(silicon, Version::new(6, 2, 0)), (vec!["tcg"], vec!["hvf"]));
        assert_eq!(names(silicon, Version::new(8, 0, 4)), (vec!["hvf", "tcg"], vec![]));
    }

    #[test]
    fn the_translator_is_never_at_fault() {
        for fault in &KNOWN {
            assert_ne!(fault.accelerator, Accelerator::Tcg);
            assert!(fault.first <= fault.last);
            assert!(fault.first >= Version::floor(fault.host.os), "older ones are refused anyway");
        }
    }
}
