//! What `nsvm run` asks for: a root file system and all eight kinds of
//! namespaces around one program, typed.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf as Bytes;

use super::network::Mode;

/// A program on a root file system of its own. The default is the guest's own
/// root, with changes that are thrown away.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSpec {
    pub root: RootFs,
    /// Keeps what the program changes, for the next run of this name.
    pub name: Option<String>,
    pub hostname: Option<String>,
    pub network: Mode,
    /// All capabilities of the user namespace, and nothing of /proc hidden.
    pub privileged: bool,
    /// Changes fail instead of being kept or thrown away.
    pub read_only: bool,
}

/// What the program sees below `/`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RootFs {
    /// The guest's own.
    #[default]
    Guest,
    /// A directory of the guest.
    Directory(Bytes),
    /// One that was sent before, by its digest.
    Sent(Digest),
}

/// SHA-256 in lower-case hexadecimal digits: nothing else becomes the name of
/// a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// A text that is no [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no SHA-256 digest")]
pub struct NoDigest(String);

impl Digest {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Digest {
    type Error = NoDigest;

    fn try_from(text: String) -> Result<Self, NoDigest> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(digit) {
            Ok(Self(text))
        } else {
            Err(NoDigest(text))
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// Whether `name` may name what is kept: it becomes a directory and, unless
/// another is given, the hostname.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    // A hostname has at most 64 characters (uname(2)).
    first && name.len() <= 63 && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_digest_is_one() {
        assert!(Digest::try_from("ab".repeat(32)).is_ok());
        for bad in ["", "../x", &"AB".repeat(32), &"ab".repeat(31)] {
            assert!(Digest::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        let bytes = rmp_serde::to_vec(&"../../etc").unwrap();
        assert!(rmp_serde::from_slice::<Digest>(&bytes).is_err());
    }

    #[test]
    fn names_are_plain() {
        for good in ["a", "web-1", "A_b.c"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "-x", "a/b", "a b", "ä", &"x".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
