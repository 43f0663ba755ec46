//! What users choose about images, in layers: flags beat the environment,
//! which beats the config file. Each layer is one [`Choices`].

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::catalog::Entry;
use super::prepare::Settings;

/// One layer. What it leaves out is decided by a lower one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Choices {
    /// The image meant when `--image` is absent.
    pub default: Option<String>,
    pub pull: Option<Pull>,
    pub signature: Option<Signatures>,
    /// Public keys (OpenPGP, armored or binary) to trust instead of the publisher's.
    pub keyring: Option<PathBuf>,
    /// CA certificates (PEM) to trust besides the system's.
    pub cacert: Option<PathBuf>,
    /// URL prefixes to try in place of the publisher's own.
    pub mirrors: Option<Vec<String>>,
    /// Images of the user's own, besides those this program knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub catalog: Vec<Entry>,
    /// `NSVM_STREAM_URL`.
    #[serde(skip)]
    pub stream_url: Option<String>,
    /// `SSL_CERT_FILE`, where TLS does not read it of itself.
    #[serde(skip)]
    pub ssl_cert_file: Option<PathBuf>,
}

/// When to ask a download server whether there is a newer release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// Use the network for nothing.
    Never,
    /// Only when the cache has none.
    #[default]
    Missing,
    /// Each time; a server that does not answer only warns when the cache has one.
    Newer,
}

/// How much an image's OpenPGP signature matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signatures {
    /// Without a good one there is no image.
    Require,
    /// Where the publisher names one it must be good; public keys that cannot
    /// be had only warn.
    #[default]
    Auto,
    /// Digests alone.
    Off,
}

impl FromStr for Pull {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "missing" => Ok(Self::Missing),
            "newer" => Ok(Self::Newer),
            other => Err(format!("\"{other}\" is none of never, missing, newer")),
        }
    }
}

impl FromStr for Signatures {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "require" => Ok(Self::Require),
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            other => Err(format!("\"{other}\" is none of require, auto, off")),
        }
    }
}

impl Choices {
    /// These, and `lower` where they leave something out. Catalogs add up.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            default: self.default.or(lower.default),
            pull: self.pull.or(lower.pull),
            signature: self.signature.or(lower.signature),
            keyring: self.keyring.or(lower.keyring),
            cacert: self.cacert.or(lower.cacert),
            mirrors: self.mirrors.or(lower.mirrors),
            catalog: self.catalog.into_iter().chain(lower.catalog).collect(),
            stream_url: self.stream_url.or(lower.stream_url),
            ssl_cert_file: self.ssl_cert_file.or(lower.ssl_cert_file),
        }
    }

    /// What holds where nobody chooses; the default image is the catalog's.
    pub fn built_in() -> Self {
        Self {
            pull: Some(Pull::default()),
            signature: Some(Signatures::default()),
            ..Self::default()
        }
    }

    /// All layers together, as [`super::prepare()`] needs them.
    pub fn settings(self) -> Settings {
        Settings {
            stream_url: self.stream_url,
            pull: self.pull.unwrap_or_default(),
            signatures: self.signature.unwrap_or_default(),
            keyring: self.keyring,
            cacerts: self.cacert.into_iter().chain(self.ssl_cert_file).collect(),
            mirrors: self.mirrors.unwrap_or_default(),
            catalog: self.catalog,
            ..Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_layer_wins_where_it_says_something() {
        let flags = Choices { pull: Some(Pull::Newer), ..Choices::default() };
        let file = Choices {
            pull: Some(Pull::Never),
            signature: Some(Signatures::Require),
            mirrors: Some(vec!["https://mirror.example/".into()]),
            ..Choices::default()
        };
        let settings = flags.over(Choices::default()).over(file).settings();
        assert_eq!((settings.pull, settings.signatures), (Pull::Newer, Signatures::Require));
        assert_eq!(settings.mirrors.len(), 1);
        let settings = Choices::default().settings();
        assert_eq!((settings.pull, settings.signatures), (Pull::Missing, Signatures::Auto));
    }

    #[test]
    fn words_are_checked() {
        assert_eq!("newer".parse(), Ok(Pull::Newer));
        assert_eq!("off".parse(), Ok(Signatures::Off));
        let error = "always".parse::<Pull>().unwrap_err();
        assert_eq!(error, "\"always\" is none of never, missing, newer");
        assert!("on".parse::<Signatures>().unwrap_err().contains("require, auto, off"));
    }
}
