//! OpenPGP, as far as the detached signature of a file needs it (RFC 9580).
//!
//! ```text
//! keyring.rs      the certificates that are trusted
//! certificate.rs  which of their keys may sign, and when
//! detached.rs     which key made a signature; checking bytes as they come
//! ```
//!
//! The crate `pgp` parses and does the cryptography. Whom to believe is decided
//! here: no weak hashes, no key that is expired, revoked, unbound or not meant
//! for signing. Nothing here touches files or the network.

mod certificate;
mod detached;
mod keyring;
#[cfg(test)]
mod tests;

pub use detached::{Matched, matched};
pub use keyring::Keyring;
