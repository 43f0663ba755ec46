//! What `--image` knows by name: `images/catalog.json`, embedded.
//!
//! ```text
//! version   1
//! default   the image meant when `--image` is absent
//! images[]  name         what the user types; [a-z0-9-]
//!           summary      half a line for people
//!           kind         "fcos-stream": a channel of Fedora CoreOS; url has {stream},
//!                        streams[] lists the channels, the first is the default;
//!                        release_url of one release; keys{url, fingerprints[]} of
//!                        those who sign it
//!                        "recipe": built here by the scripts in images/NAME/
//!           arches       the architectures it exists for
//!           user         the login account that the provisioner makes or extends
//!           provisioner  "ignition" or "cloud-init"
//! ```

use std::sync::LazyLock;

use serde::Deserialize;

use crate::machine::config::Arch;

/// Who sets the guest up at its first boot, as the image's maker decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provisioner {
    Ignition,
    CloudInit,
    /// A path or URL says nothing: offer both, each ignores the other's.
    Auto,
}

/// All that can be asked for by name.
#[derive(Debug, Deserialize)]
pub struct Catalog {
    pub default: String,
    pub images: Vec<Entry>,
}

/// One name of the catalog.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Entry {
    pub name: String,
    pub summary: String,
    #[serde(flatten)]
    pub kind: Kind,
    pub arches: Vec<Arch>,
    pub user: String,
    pub provisioner: Provisioner,
}

/// How an image comes into being.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
    Recipe,
}

/// The OpenPGP keys of a publisher.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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

impl Catalog {
    /// The catalog this program was built with.
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }

    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.images.iter().find(|entry| entry.name == name)
    }

    /// Everything that can be typed, for messages: `fedora-coreos[:stable|testing]`.
    pub fn spellings(&self) -> String {
        let all: Vec<String> = self.images.iter().map(Entry::spelling).collect();
        all.join(", ")
    }
}

impl Entry {
    /// The channels it has, the default first; empty for most.
    pub fn streams(&self) -> &[String] {
        match &self.kind {
            Kind::FcosStream { streams, .. } => streams,
            Kind::Recipe => &[],
        }
    }

    /// Whether one of its releases can be asked for by name.
    pub fn has_releases(&self) -> bool {
        matches!(&self.kind, Kind::FcosStream { release_url: Some(_), .. })
    }

    fn spelling(&self) -> String {
        match self.streams() {
            [] => self.name.clone(),
            streams => format!("{}[:{}]", self.name, streams.join("|")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_catalog_is_sound() {
        let catalog = Catalog::embedded();
        assert!(catalog.find(&catalog.default).is_some());
        for entry in &catalog.images {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(entry.name.chars().all(plain), "{}", entry.name);
            assert!(!entry.arches.is_empty(), "{}", entry.name);
            if let Kind::FcosStream { url, streams, release_url, keys } = &entry.kind {
                assert!(url.starts_with("https://") && url.contains("{stream}"), "{url}");
                assert!(!streams.is_empty());
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
    fn spellings_show_the_channels() {
        let text = Catalog::embedded().spellings();
        assert!(text.contains("fedora-coreos[:stable|testing|next]"), "{text}");
        assert!(text.ends_with("debian-local"), "{text}");
    }
}
