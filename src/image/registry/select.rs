//! Which of an artifact's parts is the disk, pure. Only the fields read here
//! are named.
//!
//! Formats: OCI image-spec 1.1, image-index.md and manifest.md; the annotation
//! `disktype` is podman's (pkg/machine/ocipull).
#![cfg_attr(not(feature = "oci"), allow(dead_code))]

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::RegistryError;
use crate::machine::config::Arch;

/// podman's name for disks that QEMU boots.
const DISK_TYPE: &str = "qemu";
const DISK_TYPE_KEY: &str = "disktype";

/// What a reference leads to.
#[derive(Debug, Deserialize)]
pub struct Document {
    /// Of an index.
    manifests: Option<Vec<Part>>,
    /// Of a manifest.
    layers: Option<Vec<Part>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Part {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Platform {
    architecture: String,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The document with this digest.
    Manifest(String),
    /// The blob with this digest is the disk.
    Disk(String),
}

impl Document {
    pub fn parse(bytes: &[u8]) -> Result<Self, RegistryError> {
        serde_json::from_slice(bytes).map_err(|e| RegistryError::Answer(e.to_string()))
    }

    /// The disk for QEMU and this architecture, or what leads to it.
    pub fn next(&self, arch: Arch) -> Result<Next, RegistryError> {
        match (&self.manifests, &self.layers) {
            (Some(parts), _) => of_index(parts, arch).map(Next::Manifest),
            (None, Some(layers)) => match layers.as_slice() {
                [disk] => Ok(Next::Disk(disk.digest.clone())),
                layers => Err(RegistryError::Layers(layers.len())),
            },
            (None, None) => {
                Err(RegistryError::Answer("it is neither an index nor a manifest".to_owned()))
            }
        }
    }
}

fn of_index(parts: &[Part], arch: Arch) -> Result<String, RegistryError> {
    let is_disk = |part: &&Part| part.disk_type() == Some(DISK_TYPE);
    let disks: Vec<&Part> = parts.iter().filter(is_disk).collect();
    if disks.is_empty() {
        return Err(RegistryError::NoDisk(others(parts)));
    }
    let fits = |part: &&&Part| part.arch().and_then(|name| name.parse().ok()) == Some(arch);
    let found = disks.iter().find(fits).map(|part| part.digest.clone());
    found.ok_or_else(|| {
        let have: BTreeSet<&str> = disks.iter().filter_map(|part| part.arch()).collect();
        RegistryError::NoArch { arch: arch.name(), have: listed(&have) }
    })
}

impl Part {
    fn disk_type(&self) -> Option<&str> {
        self.annotations.get(DISK_TYPE_KEY).map(String::as_str)
    }

    fn arch(&self) -> Option<&str> {
        self.platform.as_ref().map(|platform| platform.architecture.as_str())
    }
}

/// What an index without a fitting disk has instead.
fn others(parts: &[Part]) -> String {
    let kinds: BTreeSet<&str> = parts.iter().filter_map(Part::disk_type).collect();
    if kinds.is_empty() {
        return "nothing in it has a `disktype`".to_owned();
    }
    format!("there is {}", listed(&kinds))
}

fn listed(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(&str, Option<&str>, &str)]) -> Document {
        let entries: Vec<_> = entries
            .iter()
            .map(|(arch, disk, digest)| {
                let annotations = disk.map(|disk| serde_json::json!({ "disktype": disk }));
                serde_json::json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": digest, "size": 7,
                    "platform": { "architecture": arch, "os": "linux" },
                    "annotations": annotations.unwrap_or_else(|| serde_json::json!({})),
                })
            })
            .collect();
        Document::parse(serde_json::json!({ "manifests": entries }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_disk_of_the_architecture_in_either_spelling() {
        let both = index(&[
            ("x86_64", Some("applehv"), "sha256:1"),
            ("x86_64", Some("qemu"), "sha256:2"),
            ("arm64", Some("qemu"), "sha256:3"),
            ("x86_64", None, "sha256:4"),
        ]);
        assert_eq!(both.next(Arch::X86_64), Ok(Next::Manifest("sha256:2".into())));
        assert_eq!(both.next(Arch::Aarch64), Ok(Next::Manifest("sha256:3".into())));
    }

    #[test]
    fn what_is_missing_is_said() {
        let none = index(&[("amd64", None, "sha256:1")]).next(Arch::X86_64).unwrap_err();
        assert_eq!(none.to_string(), "it has no disk for QEMU: nothing in it has a `disktype`");
        let other = index(&[("amd64", Some("hyperv"), "sha256:1")]).next(Arch::X86_64).unwrap_err();
        assert!(other.to_string().ends_with("there is hyperv"), "{other}");
        let arch = index(&[("amd64", Some("qemu"), "sha256:1")]).next(Arch::Aarch64).unwrap_err();
        assert_eq!(arch.to_string(), "it has no disk for aarch64: there is amd64");
    }

    #[test]
    fn a_disk_is_one_layer() {
        let manifest =
            |layers: &str| Document::parse(format!("{{\"layers\": [{layers}]}}").as_bytes());
        let layer = r#"{"digest": "sha256:9", "size": 1}"#;
        assert_eq!(manifest(layer).unwrap().next(Arch::X86_64), Ok(Next::Disk("sha256:9".into())));
        let two = manifest(&format!("{layer},{layer}")).unwrap().next(Arch::X86_64);
        assert_eq!(two, Err(RegistryError::Layers(2)));
        assert_eq!(manifest("").unwrap().next(Arch::X86_64), Err(RegistryError::Layers(0)));
        for bad in ["{}", "[]", "<html>"] {
            let error = Document::parse(bad.as_bytes()).and_then(|d| d.next(Arch::X86_64));
            assert!(matches!(error, Err(RegistryError::Answer(_))), "{bad}");
        }
    }
}
