//! HTTP, with patience that ends: one client, waits that notice the user's
//! Ctrl-C, and a body that reconnects where a connection was cut.
//!
//! A `file:` URL stands for the same file of this host. Nothing here judges what was received: `ingest` does, by its digest.

mod body;
mod error;
mod file;
mod http;
mod mirrors;
mod trust;

pub use body::{Body, Known};
pub use error::FetchError;
pub use file::open as open_file;
pub use http::{Http, Patience, is_loopback};
pub use mirrors::{address, is_protected, may_name, places};
pub use trust::authorities;
