//! From `--image` to a base in the cache: real files, real sockets, a server
//! that misbehaves. No network, no VM.

#![cfg(unix)]

mod fcos;
mod local;
mod resume;
mod server;
mod url;
mod world;
