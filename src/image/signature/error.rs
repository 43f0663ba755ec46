//! Why a signature does not count.

use std::path::PathBuf;

/// What is wrong with a signature, its maker's key, or the way to them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("its signature is bad: it is not what the holder of the key {fingerprint} signed")]
    Bad { fingerprint: String },
    #[error("its signature is none ({0})")]
    Malformed(String),
    #[error("its signature was made with {0}, which is broken: anyone could have made it")]
    WeakHash(String),
    #[error("its signature is of a kind that does not sign files")]
    WrongKind,
    #[error("its signature says that it was made in the future")]
    Future,
    #[error("its signature has expired")]
    Expired,
    #[error("its signature was made by the key {issuer}, which is not among the trusted ones")]
    UnknownSigner { issuer: String },
    #[error("its signature was made by the key {fingerprint}, which {unfit}")]
    Key { fingerprint: String, unfit: Unfit },

    #[error("its signature \"{url}\" is missing, though its publisher names it")]
    Missing { url: String },
    #[error("no signature is published for it, and --signature require asks for one")]
    NotPublished,
    #[error(
        "it is in the cache without a checked signature, and --pull never forbids to download it"
    )]
    NotChecked,
    #[error("the public keys that could check its signature cannot be had: {reason}")]
    NoKeys { reason: String },
    #[error("the keyring \"{}\" cannot be used: {reason}", .path.display())]
    Keyring { path: PathBuf, reason: String },
    #[error("this nsvm was built without OpenPGP (the feature gpg), so it checks no signatures")]
    #[cfg_attr(feature = "gpg", allow(dead_code))]
    NotBuilt,
}

/// Why a key must not be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unfit {
    #[error("was revoked")]
    Revoked,
    #[error("has expired")]
    Expired,
    #[error("is not meant for signing")]
    NotForSigning,
    #[error("no sound signature of its owner binds to its certificate")]
    Unbound,
    #[error("is too short or too old to be safe")]
    Weak,
    #[error("did not exist yet when the signature was made")]
    TooYoung,
}

impl SignatureError {
    /// One imperative sentence with the way out.
    pub fn hint(&self) -> String {
        match self {
            Self::Bad { .. } | Self::Malformed(_) => {
                "Run the command again; if it stays so, do not use this image".to_owned()
            }
            Self::UnknownSigner { .. } => {
                "Upgrade nsvm, which may know newer keys, or name a file with the right one by \
                 --keyring"
                    .to_owned()
            }
            Self::Future => "Set the host's clock".to_owned(),
            Self::Key { .. } | Self::Expired | Self::WeakHash(_) | Self::WrongKind => {
                "Take a newer release; --signature off relies on the digest from the metadata alone"
                    .to_owned()
            }
            Self::Missing { .. } => {
                "Run the command again later; --signature off relies on the digest from the \
                 metadata alone"
                    .to_owned()
            }
            Self::NotPublished => {
                "Use --signature auto, which asks for one only where there is one".to_owned()
            }
            Self::NotChecked => "Use --pull missing".to_owned(),
            Self::NoKeys { .. } => {
                "Check the network, or name a file with the publisher's keys by --keyring"
                    .to_owned()
            }
            Self::Keyring { .. } => {
                "Give --keyring a file of OpenPGP public keys, as `gpg --export` writes it"
                    .to_owned()
            }
            Self::NotBuilt => "Use --signature auto, or build nsvm with --features gpg".to_owned(),
        }
    }

    /// Whether fresh keys from their publisher may change the answer.
    pub fn depends_on_keys(&self) -> bool {
        matches!(self, Self::UnknownSigner { .. } | Self::Key { unfit: Unfit::Expired, .. })
    }
}
