//! From `--image` to a base in the cache: real files, real sockets, a server
//! that misbehaves. No network, no VM.

#![cfg(unix)]

mod cloud;
mod fcos;
mod local;
#[cfg(feature = "gpg")]
mod mirrors;
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
