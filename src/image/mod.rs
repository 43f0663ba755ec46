//! Base images: from what `--image` says to a verified disk in the cache, and
//! the overlay of a machine upon it.
//!
//! ```text
//! choices.rs what users choose         source.rs   what was meant
//! catalog.rs the names there are
//! prepare.rs one source each:          stream.rs   Fedora CoreOS metadata (pure)
//!   local.rs remote.rs recipe/         checksums.rs lists of digests (pure)
//!   fcos.rs cloud.rs registry/         release.rs the same of one release (pure)
//!   imported.rs                        tracked.rs  names whose file changes
//!                                      fetch/      HTTP; saved.rs keeps half downloads
//!                                      signature/  whose word counts; openpgp/ (pure)
//! ingest.rs  body > watch > sha256 > decode > sha256 > sparse file > rename
//!   ahead.rs one thread each for the first three, the decoder, and the rest
//!   xz.rs    threads by memory      limit.rs    an end to what never ends
//! qcow2.rs   is it a sound qcow2       cache.rs    every name in the cache
//! disk.rs layers.rs overlays           pick.rs     which base is meant
//! boot.rs    what of a base the host   audit.rs    is it still what it was
//!            starts itself
//! ```
//!
//! Nothing unverified ever gets a name that is looked for. Functions here
//! block and run an async runtime of their own: call them from no async code.

mod ahead;
mod audit;
mod boot;
mod cache;
mod catalog;
mod checked;
mod checksums;
mod choices;
mod cloud;
pub mod decode;
mod disk;
mod error;
mod fcos;
mod fetch;
mod hashing;
mod imported;
mod ingest;
mod layers;
mod limit;
mod local;
#[cfg_attr(not(feature = "gpg"), path = "openpgp/absent.rs")]
mod openpgp;
mod peek;
mod pick;
mod prepare;
mod qcow2;
mod recipe;
mod registry;
mod release;
mod remote;
mod saved;
mod signature;
mod source;
mod sparse;
mod stream;
#[cfg(test)]
mod testing;
mod tracked;
mod vmlinux;
mod watch;
mod xz;
mod xz_block;

pub use audit::audit;
pub use boot::DirectBoot;
pub use cache::{
    Base, Cache, FoundTemplate, Held, LeftOver, Making, Remembered, TemplateFiles, TemplateState,
    Unfinished, User, written,
};
pub use catalog::{Catalog, CatalogError, DEFAULT_USER, Entry, Keys, Kind, Provisioner};
pub use checksums::ChecksumError;
pub use choices::{Choices, Pull, Signatures};
pub use disk::{create_overlay, grow, rebase, virtual_size};
pub use error::ImageError;
pub use fetch::{FetchError, Patience};
pub use imported::{
    Import, catalog as all_names, import, is_imported, name_of, sweep as sweep_imports,
};
pub use layers::{
    DEEPEST, chain, check_layer, create_on_layer, layer_name, layer_number, layers_in, merge_down,
    next_layer, put,
};
pub use pick::pick;
pub use prepare::{Prepared, Settings, Wanted, prepare};
pub use recipe::RecipeError;
pub use registry::RegistryError;
pub use signature::{SignatureError, Unfit};
pub use stream::StreamError;
