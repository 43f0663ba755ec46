//! The options about an image that `machine init` and `image pull` share.

use std::path::PathBuf;

use crate::app::Context;
use crate::app::init::ImageRequest;
use crate::image::{Choices, Pull, Signatures};
use crate::machine::config::Arch;

/// Which file is right, whose word counts for it, and when to download.
#[derive(Debug, clap::Args)]
pub struct ImageOptions {
    /// SHA-256 that the image must have (needed for a URL)
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Architecture of the guest: x86_64 or aarch64 [default: the host's]
    #[arg(long)]
    arch: Option<Arch>,
    /// When to ask the download server: never, missing (from the cache) or
    /// newer (is there a newer release?) [default: missing]
    #[arg(long, value_name = "WHEN")]
    pull: Option<Pull>,
    /// What the image's OpenPGP signature decides: require (no image without
    /// a good one), auto (a bad one is an error) or off [default: auto]
    #[arg(long, value_name = "MODE")]
    signature: Option<Signatures>,
    /// OpenPGP public keys to trust instead of the publisher's
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// CA certificates (PEM) to trust besides the system's
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

impl ImageOptions {
    /// The image `named`, or the default one, with all layers of choices.
    pub fn request(self, named: Option<String>, context: &Context) -> ImageRequest {
        let flags = Choices {
            default: named,
            pull: self.pull,
            signature: self.signature,
            keyring: self.keyring,
            cacert: self.cacert,
            ..Choices::default()
        };
        ImageRequest {
            sha256: self.sha256,
            arch: self.arch.unwrap_or_else(Arch::host),
            choices: flags.over(context.image.clone()),
        }
    }
}
