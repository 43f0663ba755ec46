//! Disk artifacts of OCI registries, as podman publishes them for its machines
//! (`docker://quay.io/podman/machine-os:5.6`): an index whose entries name the
//! kind of disk and the architecture, a manifest of one layer, and that layer,
//! which is the disk, mostly compressed.
//!
//! Every document is checked by the digest that led to it. The layer comes by
//! the same way as any other download, so it resumes.

#[cfg(not(feature = "oci"))]
mod absent;
#[cfg(feature = "oci")]
mod client;
mod select;

#[cfg(not(feature = "oci"))]
use absent as client;

pub use client::image;

/// Why a registry gave no image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RegistryError {
    #[error("it is no HOST/REPOSITORY:TAG ({0})")]
    Reference(String),
    #[error("the registry wants a login")]
    Login,
    #[error("the registry answered {status}: {text}")]
    Status { status: u16, text: String },
    #[error("the registry's answer cannot be used ({0})")]
    Answer(String),
    #[error("it has no disk for QEMU: {0}")]
    NoDisk(String),
    #[error("it has no disk for {arch}: there is {have}")]
    NoArch { arch: &'static str, have: String },
    #[error("it has {0} layers, and a disk is one layer")]
    Layers(usize),
    #[error("this nsvm was built without the feature `oci`")]
    NotBuiltIn,
}

impl RegistryError {
    pub fn hint(&self) -> String {
        let text = match self {
            Self::Reference(_) => "Write it like docker://quay.io/podman/machine-os:5.6",
            Self::Login | Self::Status { status: 401 | 403 | 404, .. } => {
                "Check the name and the tag; nsvm reads public repositories only"
            }
            Self::Status { .. } => "Run the command again later",
            Self::Answer(_) => {
                "Check that the host is a registry: a network's login page may answer in its place"
            }
            Self::NoDisk(_) | Self::Layers(_) => {
                "Name a disk artifact, such as docker://quay.io/podman/machine-os:5.6; an image of a \
                 container cannot boot"
            }
            Self::NoArch { .. } => "Choose another one with --arch",
            Self::NotBuiltIn => "Build nsvm with `--features oci`, or give --image a URL",
        };
        text.to_owned()
    }
}
