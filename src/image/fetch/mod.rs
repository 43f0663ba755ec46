//! HTTP, with patience that ends: one client, waits that notice the user's
//! Ctrl-C, and a body that reconnects where a connection was cut.
//!
//! Nothing here judges what was received: `ingest` does, by its digest.

mod body;
mod error;
mod http;
mod mirrors;
mod trust;

pub use body::{Body, Known};
pub use error::FetchError;
pub use http::{Http, Patience, is_loopback};
pub use mirrors::{is_protected, places};
pub use trust::authorities;
