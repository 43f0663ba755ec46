//! The control endpoint: how the CLI talks to a running supervisor.
//!
//! One local socket a machine (a named pipe on Windows), for its owner alone.
//! A client sends one request as a line of JSON; replies are lines of JSON.
//! After `session` is granted the connection carries the agent's bytes.

pub mod client;
pub mod message;
pub mod server;

use std::io;
use std::path::Path;

use interprocess::local_socket::{GenericFilePath, GenericNamespaced, Name, prelude::*};

/// The endpoint's name: the socket's path, or on Windows a pipe named after
/// it, because pipes live in a name space of their own.
fn endpoint(socket: &Path) -> io::Result<Name<'static>> {
    if cfg!(unix) {
        return socket.to_owned().to_fs_name::<GenericFilePath>();
    }
    let flat: String = socket
        .display()
        .to_string()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    format!("nsvm{flat}").to_ns_name::<GenericNamespaced>()
}
