//! From `--image` to a base in the cache: real files, real sockets, a server
//! that misbehaves. No network, no VM.

#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;

mod catalog;
mod cloud;
mod faults;
mod fcos;
mod full_disk;
mod killed;
mod local;
mod metadata;
#[cfg(feature = "gpg")]
mod mirrors;
mod parallel;
#[cfg(feature = "gpg")]
mod program;
mod redirects;
#[cfg(feature = "oci")]
mod registry;
mod releases;
mod resume;
mod server;
#[cfg(feature = "gpg")]
mod signatures;
#[cfg(feature = "gpg")]
mod signed;
mod trust;
mod url;
mod world;
