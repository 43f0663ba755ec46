//! What `--image` knows by name: `images/catalog.json`, embedded, and what the
//! user's config file adds to it.
//!
//! ```text
//! version   1
//! default   the image meant when `--image` is absent
//! images[]  name         what the user types; [a-z0-9-]
//!           summary      half a line for people
//!           arches       the architectures it exists for
//!           user         the login account that the provisioner makes or extends
//!           provisioner  "ignition", "cloud-init" or "auto"
//!           systemd      false: the guest has none, so nobody runs units in it
//!           kind         "fcos-stream": a channel of Fedora CoreOS; url has {stream},
//!                        streams[] lists the channels, the first is the default;
//!                        release_url of one release; keys{url, fingerprints[]} of
//!                        those who sign it
//!                        "cloud-image": a file beside a list of checksums (cloud.rs)
//!                        "download": one file, url and sha256{ARCH}
//!                        "registry": a disk artifact, reference "HOST/REPOSITORY:TAG"
//!                        "recipe": built here by the scripts in images/NAME/
//! ```

mod check;
mod cloud;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::machine::config::Arch;

pub use check::{CatalogError, is_name};
pub use cloud::{CloudImage, Place, Version};

/// Who sets the guest up at its first boot, as the image's maker decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provisioner {
    Ignition,
    CloudInit,
    /// A path or URL says nothing: offer both, each ignores the other's.
    Auto,
}

/// All that can be asked for by name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Catalog {
    pub default: String,
    pub images: Vec<Entry>,
}

/// One name of the catalog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    #[serde(default)]
    pub summary: String,
    #[serde(flatten)]
    pub kind: Kind,
    pub arches: Vec<Arch>,
    pub user: String,
    pub provisioner: Provisioner,
    #[serde(default = "has_systemd", skip_serializing_if = "is_true")]
    pub systemd: bool,
}

/// Nearly every image has it.
const fn has_systemd() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_true(value: &bool) -> bool {
    *value
}

/// How an image comes into being.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    FcosStream {
        url: String,
        streams: Vec<String>,
        /// Of one release's JSON; has `{stream}` and `{release}`.
        #[serde(default)]
        release_url: Option<String>,
        /// Who signs it.
        #[serde(default)]
        keys: Option<Keys>,
    },
    CloudImage(CloudImage),
    /// One file an architecture, by its digest; the URL may have `{arch}`.
    Download {
        url: String,
        sha256: BTreeMap<Arch, String>,
    },
    /// What `docker://REFERENCE` means.
    Registry {
        reference: String,
    },
    Recipe,
    /// Put into the cache by `image import`; never in a catalog file.
    Imported,
}

/// The OpenPGP keys of a publisher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Of the certificates, armored or not; https, or http on loopback.
    pub url: String,
    /// Of the primary keys that count, hex.
    pub fingerprints: Vec<String>,
}

/// The account for images that the catalog does not know.
pub const DEFAULT_USER: &str = "core";

static EMBEDDED: LazyLock<Catalog> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../images/catalog.json"))
        .expect("the embedded catalog is checked by a test")
});

impl Default for Catalog {
    fn default() -> Self {
        EMBEDDED.clone()
    }
}

impl Catalog {
    /// The catalog this program was built with.
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }

    /// The embedded catalog and the user's own entries, all of which are
    /// sound and none of which has a name that is taken.
    pub fn with(extra: Vec<Entry>) -> Result<Self, CatalogError> {
        let mut catalog = Self::default();
        for entry in extra {
            check::entry(&entry)?;
            if catalog.find(&entry.name).is_some() {
                return Err(CatalogError::taken(&entry.name));
            }
            catalog.images.push(entry);
        }
        Ok(catalog)
    }

    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.images.iter().find(|entry| entry.name == name)
    }

    /// The names there are, for messages.
    pub fn names(&self) -> String {
        let all: Vec<&str> = self.images.iter().map(|entry| entry.name.as_str()).collect();
        all.join(", ")
    }
}

impl Entry {
    /// What may follow the name after a colon, the default first; empty for
    /// most kinds.
    pub fn streams(&self) -> Vec<&str> {
        match &self.kind {
            Kind::FcosStream { streams, .. } => streams.iter().map(String::as_str).collect(),
            Kind::CloudImage(cloud) => cloud.versions.iter().map(|v| v.name.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether one of its releases can be asked for by name.
    pub fn has_releases(&self) -> bool {
        matches!(&self.kind, Kind::FcosStream { release_url: Some(_), .. })
    }

    /// What is meant when nothing follows the name.
    pub fn default_stream(&self) -> Option<&str> {
        self.streams().first().copied()
    }

    /// The stream or version that was meant by `text`: itself, or what it is
    /// another word for (`trixie` for `13`).
    pub fn stream(&self, text: &str) -> Option<&str> {
        let exact = self.streams().into_iter().find(|name| *name == text);
        exact.or_else(|| match &self.kind {
            Kind::CloudImage(cloud) => {
                let known = |version: &&Version| version.aliases.iter().any(|a| a == text);
                cloud.versions.iter().find(known).map(|version| version.name.as_str())
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_entry(toml: &str) -> Result<Catalog, CatalogError> {
        Catalog::with(vec![toml::from_str(toml).unwrap()])
    }

    const OWN: &str = r#"
        name = "ours"
        kind = "cloud-image"
        url = "https://img.example.org/{version}/disk-{arch}.qcow2"
        checksums = "{url}.sha256"
        versions = [{ version = "2", aliases = ["new"] }]
        arches = ["x86_64"]
        user = "admin"
        provisioner = "cloud-init"
    "#;

    #[test]
    fn the_embedded_catalog_is_sound() {
        let catalog = Catalog::embedded();
        assert!(catalog.find(&catalog.default).is_some());
        for (i, entry) in catalog.images.iter().enumerate() {
            check::entry(entry).or_else(check::only_ours).unwrap();
            assert!(!catalog.images[..i].iter().any(|other| other.name == entry.name));
            assert!(!entry.summary.is_empty(), "{}", entry.name);
            let addresses = check::addresses(entry).unwrap();
            assert!(addresses.iter().all(|a| a.starts_with("https://")), "{addresses:?}");
            if let Kind::FcosStream { release_url, keys, .. } = &entry.kind {
                let release = release_url.as_deref().unwrap();
                assert!(release.starts_with("https://") && release.contains("/{release}/"));
                let keys = keys.as_ref().unwrap();
                assert!(keys.url.starts_with("https://") && keys.fingerprints.len() >= 3);
                let hex =
                    |pin: &String| pin.len() == 40 && u128::from_str_radix(&pin[8..], 16).is_ok();
                assert!(keys.fingerprints.iter().all(hex));
            }
        }
    }

    #[test]
    fn the_usual_distributions_are_known_by_version_and_by_codename() {
        let catalog = Catalog::embedded();
        for (name, text, canonical) in [
            ("debian", "trixie", "13"),
            ("debian", "12", "12"),
            ("ubuntu", "noble", "24.04"),
            ("fedora", "43", "43"),
            ("alpine", "3.23", "3.23"),
            ("rocky", "10", "10"),
            ("opensuse", "leap", "16.0"),
            ("opensuse", "tumbleweed", "tumbleweed"),
            ("fedora-coreos", "next", "next"),
        ] {
            let entry = catalog.find(name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(entry.stream(text), Some(canonical), "{name}:{text}");
            assert_eq!(entry.stream("bogus"), None);
        }
    }

    #[test]
    fn own_entries_follow_the_embedded_ones() {
        let catalog = user_entry(OWN).unwrap();
        assert_eq!(catalog.find("ours").unwrap().stream("new"), Some("2"));
        assert!(catalog.find("debian").is_some());
        assert!(catalog.names().ends_with("debian-local-cloud, ours"), "{}", catalog.names());
    }

    #[test]
    fn bad_entries_are_refused_by_name() {
        for (from, to, reason) in [
            ("\"ours\"", "\"debian\"", "has a name that is taken"),
            ("\"ours\"", "\"Our:s\"", "has a name that cannot be typed"),
            ("https://", "ftp://", "is not https, http or file"),
            ("{url}.sha256", "http://example.org/x", "is not https"),
            ("disk-{arch}", "disk-{ark}", "{ark}"),
            ("[\"new\"]", "[\"2\"]", "twice"),
            ("\"2\"", "\"../2\"", "../2"),
            ("[\"x86_64\"]", "[]", "no architecture"),
            ("\"admin\"", "\"a b\"", "a b"),
            ("cloud-image\"", "recipe\"", "kind"),
        ] {
            assert!(OWN.contains(from));
            let error = user_entry(&OWN.replace(from, to)).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("the image \"") && text.contains(reason), "{from}: {text}");
            assert!(error.hint().contains("[[image.catalog]]"));
        }
    }

    #[test]
    fn pinned_files_and_artifacts_may_be_named_too() {
        let digest = "0".repeat(64);
        let file = format!(
            "name = 'a'\nkind = 'download'\nurl = 'http://h/{{arch}}.xz'\narches = ['x86_64']\n\
             user = 'u'\nprovisioner = 'auto'\nsha256 = {{ x86_64 = '{digest}' }}"
        );
        user_entry(&file).unwrap();
        assert!(user_entry(&file.replace(&digest, "12")).is_err());
        assert!(user_entry(&file.replace("['x86_64']", "['aarch64']")).is_err());
        let artifact = "name = 'a'\nkind = 'registry'\nreference = 'quay.io/x/y:1'\n\
                        arches = ['x86_64']\nuser = 'u'\nprovisioner = 'ignition'";
        user_entry(artifact).unwrap();
        assert!(user_entry(&artifact.replace("quay", "docker://quay")).is_err());
    }
}
