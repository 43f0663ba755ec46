//! FCOS release metadata: the files of one release, however old.
//!
//! Format: `Release` of <https://github.com/coreos/stream-metadata-go>. Its
//! files are the same as a stream's, under other names.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::stream::{Artifact, Format, PLATFORM, StreamError, best, listed};
use crate::machine::config::Arch;

/// Longer than any release's name; part of a URL and of messages.
const LENGTH_MAX: usize = 64;

#[derive(Debug, Deserialize)]
pub struct Release {
    #[serde(rename = "release")]
    name: String,
    stream: String,
    architectures: BTreeMap<String, Architecture>,
}

#[derive(Debug, Deserialize)]
struct Architecture {
    #[serde(default)]
    media: BTreeMap<String, Media>,
}

#[derive(Debug, Deserialize)]
struct Media {
    #[serde(default)]
    artifacts: BTreeMap<String, Format>,
}

impl Release {
    pub fn parse(bytes: &[u8]) -> Result<Self, StreamError> {
        serde_json::from_slice(bytes).map_err(|e| StreamError::Json(e.to_string()))
    }

    /// The disk image for an architecture, of the release and stream that were
    /// asked for.
    pub fn disk(&self, stream: &str, release: &str, arch: Arch) -> Result<&Artifact, StreamError> {
        if (self.stream.as_str(), self.name.as_str()) != (stream, release) {
            let found = format!("{} {}", self.stream, self.name);
            return Err(StreamError::Other { asked: format!("{stream} {release}"), found });
        }
        let of_arch = self.architectures.get(arch.name()).ok_or_else(|| StreamError::NoArch {
            arch: arch.name(),
            have: listed(self.architectures.keys()),
        })?;
        let none = |have| StreamError::NoFormat { arch: arch.name(), have };
        let media = of_arch.media.get(PLATFORM);
        let media = media.ok_or_else(|| none(listed(of_arch.media.keys())))?;
        best(&media.artifacts).ok_or_else(|| none(listed(media.artifacts.keys())))
    }
}

/// Whether this can be a release's name, as in `44.20260707.3.1`: it begins
/// with a digit, and nothing in it can mean another place.
pub fn is_release(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase() || c == '.' || c == '-';
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.len() <= LENGTH_MAX
        && text.chars().all(plain)
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURE: &str = include_str!("../../tests/fixtures/streams/release.json");

    #[test]
    fn each_architecture_has_its_file() {
        let release = Release::parse(FIXTURE.as_bytes()).unwrap();
        let disk = release.disk("stable", "41.20250101.3.0", Arch::X86_64).unwrap();
        assert!(disk.location.ends_with("/x86_64/qemu.qcow2.xz"));
        assert!(disk.signature.as_deref().unwrap().ends_with("/x86_64/qemu.qcow2.xz.sig"));
        assert_eq!(disk.uncompressed_sha256.as_deref(), Some(&*"2".repeat(64)));
        let disk = release.disk("stable", "41.20250101.3.0", Arch::Aarch64).unwrap();
        assert_eq!((&disk.sha256[..4], disk.uncompressed_sha256.as_deref()), ("3333", None));
    }

    #[test]
    fn another_release_is_not_taken_for_it() {
        let release = Release::parse(FIXTURE.as_bytes()).unwrap();
        let error = release.disk("stable", "41.20250101.3.1", Arch::X86_64).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is about stable 41.20250101.3.0, not stable 41.20250101.3.1"
        );
        release.disk("next", "41.20250101.3.0", Arch::X86_64).unwrap_err();
    }

    #[test]
    fn a_release_is_no_path() {
        for good in ["44.20260707.3.1", "33.20201201.3.0", "9.6.20250523-0"] {
            assert!(is_release(good), "{good}");
        }
        let long = "1".repeat(65);
        for bad in ["", ".", "..", "1..2", "../1", "1/2", "1%2f2", "1?x", "1#x", "v1", " 1", &long]
        {
            assert!(!is_release(bad), "{bad}");
        }
    }
}
