//! A machine as one file, and back: for backups, and for other hosts.
//!
//! ```text
//! tar, compressed with zstd:
//!   config.json   the machine config
//!   machine.ign   what Ignition was given      (where there is one)
//!   data/NAME     disk, keys, seed, dates: `MachinePaths::portable`, and layers
//!   base          the base image
//!   manifest.json size and SHA-256 of each of these; it comes last
//! ```
//!
//! The file holds the machine's private keys: only its owner may read it.

use std::path::{Path, PathBuf};

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

/// What a file of the data directory is called in an archive.
fn data_name(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    format!("{DATA}{name}")
}

/// Where it is unpacked to.
fn staged(stage: &Path, name: &str) -> PathBuf {
    stage.join(name.replace('/', "-"))
}
