//! FCOS stream metadata: which file is the newest release.
//!
//! Format: <https://github.com/coreos/stream-metadata-go>. Only the fields
//! read here are named; all others may change.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::machine::config::Arch;

/// The platform whose images QEMU boots.
pub const PLATFORM: &str = "qemu";

/// Formats that can be used, the cheapest to decode first.
const FORMATS: [&str; 8] =
    ["qcow2.zst", "qcow2.xz", "qcow2.gz", "qcow2", "raw.zst", "raw.xz", "raw.gz", "raw"];

#[derive(Debug, Deserialize)]
pub struct Stream {
    stream: String,
    architectures: BTreeMap<String, Architecture>,
}

#[derive(Debug, Deserialize)]
struct Architecture {
    #[serde(default)]
    artifacts: BTreeMap<String, Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    release: String,
    #[serde(default)]
    formats: BTreeMap<String, Format>,
}

#[derive(Debug, Deserialize)]
pub struct Format {
    #[serde(default)]
    disk: Option<Artifact>,
}

/// One file to download.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Artifact {
    pub location: String,
    /// Where its detached OpenPGP signature is.
    #[serde(default)]
    pub signature: Option<String>,
    /// Of the file at `location`.
    pub sha256: String,
    /// Of the disk in it, where it is compressed.
    #[serde(default)]
    pub uncompressed_sha256: Option<String>,
}

/// Why metadata could not be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StreamError {
    #[error("it is no stream metadata ({0})")]
    Json(String),
    #[error("it has no image for {arch}: there is {have}")]
    NoArch { arch: &'static str, have: String },
    #[error("it has no {PLATFORM} disk in a known format for {arch}: there is {have}")]
    NoFormat { arch: &'static str, have: String },
    #[error("it is about {found}, not {asked}")]
    Other { asked: String, found: String },
    #[error("the location \"{0}\" in it is not https")]
    Location(String),
}

impl StreamError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Json(_) | Self::Location(_) | Self::Other { .. } => Some(
                "Check NSVM_STREAM_URL, or open the URL in a browser: a network's login page may \
                 answer in its place"
                    .to_owned(),
            ),
            Self::NoArch { .. } | Self::NoFormat { .. } => {
                Some("Try another stream, such as --image fedora-coreos:testing".to_owned())
            }
        }
    }
}

impl Stream {
    pub fn parse(bytes: &[u8]) -> Result<Self, StreamError> {
        serde_json::from_slice(bytes).map_err(|e| StreamError::Json(e.to_string()))
    }

    /// The name it gives itself, such as `stable`.
    pub fn name(&self) -> &str {
        &self.stream
    }

    /// The release for an architecture and its disk image.
    pub fn disk(&self, arch: Arch) -> Result<(&str, &Artifact), StreamError> {
        let platform = self.architectures.get(arch.name()).ok_or_else(|| StreamError::NoArch {
            arch: arch.name(),
            have: listed(self.architectures.keys()),
        })?;
        let none = |have| StreamError::NoFormat { arch: arch.name(), have };
        let platform = platform
            .artifacts
            .get(PLATFORM)
            .ok_or_else(|| none(listed(platform.artifacts.keys())))?;
        let disk = best(&platform.formats);
        let disk = disk.ok_or_else(|| none(listed(platform.formats.keys())))?;
        Ok((&platform.release, disk))
    }
}

/// The disk that is cheapest to decode.
pub fn best(formats: &BTreeMap<String, Format>) -> Option<&Artifact> {
    FORMATS.iter().find_map(|name| formats.get(*name).and_then(|format| format.disk.as_ref()))
}

/// Names for a message.
pub fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURE: &str = include_str!("../../tests/fixtures/streams/two-arches.json");

    #[test]
    fn each_architecture_has_its_release_and_file() {
        let stream = Stream::parse(FIXTURE.as_bytes()).unwrap();
        assert_eq!(stream.name(), "stable");
        let (release, disk) = stream.disk(Arch::Aarch64).unwrap();
        assert_eq!(release, "44.20260102.3.0");
        assert!(disk.location.ends_with("/aarch64/qemu.qcow2.xz"));
        assert_eq!(
            (&disk.sha256[..4], disk.uncompressed_sha256.as_deref()),
            ("3333", Some(&*"4".repeat(64)))
        );
    }

    #[test]
    fn the_cheapest_format_is_taken() {
        let stream = Stream::parse(FIXTURE.as_bytes()).unwrap();
        let (release, disk) = stream.disk(Arch::X86_64).unwrap();
        assert_eq!(release, "44.20260102.3.1");
        assert!(disk.location.ends_with("qemu.qcow2.zst"));
        assert_eq!(disk.uncompressed_sha256, None);
    }

    #[test]
    fn what_is_missing_is_said() {
        let error = Stream::parse(b"<html>login</html>").unwrap_err();
        assert!(matches!(&error, StreamError::Json(_)) && error.hint().is_some());
        let empty = br#"{"stream": "next", "architectures": {"s390x": {}}}"#;
        let error = Stream::parse(empty).unwrap().disk(Arch::X86_64).unwrap_err();
        assert_eq!(error.to_string(), "it has no image for x86_64: there is s390x");
        let formats = br#"{"stream": "next", "architectures": {"x86_64": {"artifacts":
            {"qemu": {"release": "1", "formats": {"vhdx.xz": {}}}}}}}"#;
        let error = Stream::parse(formats).unwrap().disk(Arch::X86_64).unwrap_err();
        assert!(error.to_string().ends_with("there is vhdx.xz"), "{error}");
    }
}
