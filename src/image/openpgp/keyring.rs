//! The certificates that are trusted: all of a user's file, or those of a
//! publisher's ring whose fingerprints are pinned.

use pgp::composed::{Deserializable, SignedPublicKey};

use super::certificate::Certificate;

/// What a block of armored keys begins and ends with (RFC 9580 section 6.2).
const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

pub struct Keyring {
    pub(super) certificates: Vec<Certificate>,
}

impl Keyring {
    /// Reads keys, armored or binary, any number of either. With `pinned`
    /// fingerprints (of primary keys, hex) all other certificates are left out.
    ///
    /// Errors when no certificate is left.
    pub fn parse(bytes: &[u8], pinned: Option<&[String]>) -> Result<Self, String> {
        let all: Vec<Certificate> = match std::str::from_utf8(bytes) {
            Ok(text) if text.contains(BEGIN) => blocks(text).flat_map(armored).collect(),
            _ => binary(bytes),
        };
        if all.is_empty() {
            return Err("there is no OpenPGP public key in it".to_owned());
        }
        let trusted = |one: &Certificate| match pinned {
            Some(pinned) => pinned.iter().any(|pin| pin.eq_ignore_ascii_case(&one.fingerprint())),
            None => true,
        };
        let certificates: Vec<Certificate> = all.into_iter().filter(trusted).collect();
        if certificates.is_empty() {
            return Err("none of the keys in it is one of those pinned for this image".to_owned());
        }
        Ok(Self { certificates })
    }

    /// Whether the certificate with this fingerprint is trusted.
    pub fn has(&self, fingerprint: &str) -> bool {
        self.certificates.iter().any(|one| one.fingerprint().eq_ignore_ascii_case(fingerprint))
    }
}

/// Each armored block by itself: of several the crate sees only the last.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(BEGIN).filter_map(|(at, _)| {
        let rest = &text[at..];
        rest.find(END).map(|end| &rest[..end + END.len()])
    })
}

fn armored(text: &str) -> Vec<Certificate> {
    let keys = SignedPublicKey::from_armor_many(text.as_bytes());
    keys.map_or_else(|_| Vec::new(), |(keys, _)| readable(keys))
}

fn binary(bytes: &[u8]) -> Vec<Certificate> {
    SignedPublicKey::from_bytes_many(bytes).map_or_else(|_| Vec::new(), readable)
}

/// A ring may hold keys of kinds that are not known here: they are left out.
fn readable(keys: impl Iterator<Item = pgp::errors::Result<SignedPublicKey>>) -> Vec<Certificate> {
    keys.filter_map(Result::ok).map(Certificate::new).collect()
}
