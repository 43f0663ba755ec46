//! What host and guest agent say to each other: pure values.
//!
//! A link begins with [`hello`], or as [`port`] says; after it yamux carries one stream for each
//! request. A stream holds [`frame`]s: first one [`request`], then
//! [`message`]s both ways, last an [`outcome`]. Below the frames of a command
//! may be a stream that can be [`resume`]d.

pub mod frame;
pub mod frozen;
pub mod hello;
pub mod message;
pub mod outcome;
pub mod port;
#[cfg(test)]
pub mod properties;
pub mod request;
pub mod resume;
pub mod signal;

/// What `nsvm-agent dial` writes before the bytes of the other end.
pub const CONNECTED: u8 = b'\n';
