//! The host's end of one command.

use std::io::{Read, Write};

use crate::protocol::outcome::Outcome;
use crate::protocol::request::ExecRequest;

/// A stream to the agent, as two ends that work at the same time.
pub struct Connection {
    pub reader: Box<dyn Read + Send>,
    pub writer: Box<dyn Write + Send>,
}

/// Where the command's streams go on this side.
pub struct Stdio {
    pub stdin: Box<dyn Read + Send>,
    pub stdout: Box<dyn Write + Send>,
    pub stderr: Box<dyn Write + Send>,
}

/// Runs one command over `connection` and returns how it ended. An error
/// means that the connection broke before the end was known.
pub fn run(connection: Connection, request: ExecRequest, stdio: Stdio) -> anyhow::Result<Outcome> {
    let _ = (connection, request, stdio);
    anyhow::bail!("being written")
}
