//! Which checks a base image has passed on its way into the cache.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was proven of an image when it was taken in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Verified {
    /// The published file had the digest that was asked for or published.
    #[serde(rename = "SHA256")]
    pub sha256: bool,
    /// So had the disk after decompression.
    #[serde(rename = "DiskSHA256")]
    pub disk_sha256: bool,
    pub signature: Signature,
}

/// What an OpenPGP signature said of the published file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "Result", rename_all_fields = "PascalCase")]
pub enum Signature {
    /// The holder of this certificate has signed it.
    Good {
        /// Of the certificate's primary key, upper-case hex.
        fingerprint: String,
    },
    Unchecked {
        reason: String,
    },
}

impl Verified {
    /// For what was taken in by a program that wrote nothing about it.
    pub fn unrecorded() -> Self {
        Self { signature: Signature::unchecked("nothing was recorded"), ..Self::default() }
    }
}

impl Default for Signature {
    fn default() -> Self {
        Self::unchecked("no signature is published for it")
    }
}

impl Signature {
    pub fn unchecked(reason: impl Into<String>) -> Self {
        Self::Unchecked { reason: reason.into() }
    }
}
