//! A machine as one file, and back: for backups, and for other hosts.
//!
//! ```text
//! tar, compressed with zstd:
//!   config.json   the machine config
//!   machine.ign   what Ignition was given      (where there is one)
//!   data/NAME     disk.qcow2, keys, seed, dates, as in the data directory
//!   base          the base image
//!   manifest.json size and SHA-256 of each of these; it comes last
//! ```
//!
//! The file holds the machine's private keys: only its owner may read it.

mod export;
mod import;
mod manifest;

pub use export::export;
pub use import::import;

const CONFIG: &str = "config.json";
const IGNITION: &str = "machine.ign";
const DATA: &str = "data/";
const BASE: &str = "base";
const MANIFEST: &str = "manifest.json";
