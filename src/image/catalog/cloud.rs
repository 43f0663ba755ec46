//! Cloud images of distributions: where the file of a version is, and the list
//! with its checksum. Layouts differ, so the addresses are templates.
//!
//! ```text
//! url        of the image. Words in braces: {version} {arch} {deb_arch}, and what
//!            `words` of the entry or the version define, the same everywhere or
//!            by architecture
//! checksums  of the list that names the image and its digest; {url} is the
//!            image's own address
//! versions[] version   what follows the colon; the first is the default
//!            aliases   other spellings, such as a codename
//!            words     see above
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::machine::config::Arch;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloudImage {
    pub url: String,
    pub checksums: String,
    #[serde(default)]
    pub words: Words,
    pub versions: Vec<Version>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    #[serde(rename = "version")]
    pub name: String,
    #[serde(default)]
    pub aliases: Vec<String>,
    #[serde(default)]
    pub words: Words,
}

type Words = BTreeMap<String, Word>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Word {
    Same(String),
    ByArch(BTreeMap<Arch, String>),
}

/// Where one image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub url: String,
    pub checksums: String,
}

impl CloudImage {
    /// The addresses of a version; the text is a word that nothing defines.
    pub fn place(&self, version: &Version, arch: Arch) -> Result<Place, String> {
        let word = |name: &str| match name {
            "version" => Some(version.name.as_str()),
            "arch" => Some(arch.name()),
            "deb_arch" => Some(debian_name(arch)),
            name => match version.words.get(name).or_else(|| self.words.get(name))? {
                Word::Same(text) => Some(text.as_str()),
                Word::ByArch(texts) => texts.get(&arch).map(String::as_str),
            },
        };
        let url = fill(&self.url, word)?;
        let checksums =
            fill(&self.checksums, |name| if name == "url" { Some(&*url) } else { word(name) })?;
        Ok(Place { url, checksums })
    }

    /// The version of that exact name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }
}

/// As Debian and Ubuntu spell architectures.
const fn debian_name(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
    }
}

/// Replaces every `{name}`; the error is a name without a value.
pub fn fill<'a>(template: &str, word: impl Fn(&str) -> Option<&'a str>) -> Result<String, String> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| after.to_owned())?;
        text.push_str(before);
        text.push_str(word(name).ok_or_else(|| name.to_owned())?);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str) -> CloudImage {
        let catalog = super::super::Catalog::embedded();
        match &catalog.find(name).unwrap().kind {
            super::super::Kind::CloudImage(cloud) => cloud.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn place(name: &str, version: &str, arch: Arch) -> Place {
        let cloud = image(name);
        cloud.place(cloud.version(version).unwrap(), arch).unwrap()
    }

    #[test]
    fn the_published_layouts() {
        let debian = place("debian", "13", Arch::Aarch64);
        assert_eq!(
            debian.url,
            "https://cloud.debian.org/images/cloud/trixie/latest/debian-13-generic-arm64.qcow2"
        );
        assert_eq!(
            debian.checksums,
            "https://cloud.debian.org/images/cloud/trixie/latest/SHA512SUMS"
        );
        let fedora = place("fedora", "44", Arch::X86_64);
        assert!(
            fedora.url.ends_with("/x86_64/images/Fedora-Cloud-Base-Generic-44-1.7.x86_64.qcow2")
        );
        assert!(fedora.checksums.ends_with("/images/Fedora-Cloud-44-1.7-x86_64-CHECKSUM"));
        let alpine = place("alpine", "3.23", Arch::Aarch64);
        assert!(alpine.url.ends_with("nocloud_alpine-3.23.4-aarch64-uefi-cloudinit-r0.qcow2"));
        assert_eq!(alpine.checksums, format!("{}.sha512", alpine.url));
        let suse = place("opensuse", "tumbleweed", Arch::Aarch64);
        assert!(suse.url.contains("/ports/aarch64/tumbleweed/appliances/openSUSE-Tumbleweed-"));
    }

    #[test]
    fn words_without_a_value_are_named() {
        assert_eq!(fill("a{b}c{d}", |name| (name == "b").then_some("B")), Err("d".to_owned()));
        assert_eq!(fill("a{b}c", |_| Some("-")), Ok("a-c".to_owned()));
        assert_eq!(fill("a{b", |_| Some("-")), Err("b".to_owned()));
    }
}
