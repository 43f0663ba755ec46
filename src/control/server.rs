//! The supervisor's side of the control endpoint.

use std::io;
use std::path::Path;
use std::time::Duration;

use interprocess::local_socket::ListenerOptions;
use interprocess::local_socket::tokio::{Listener, Stream, prelude::*};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::endpoint;
use super::message::{MAX_LINE, Reply, Request, line};

/// A client that connected has this long to say what it wants.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);

/// A client that has been told everything hangs up within this.
const HEARING_PATIENCE: Duration = Duration::from_secs(1);

/// Listens for clients of this machine's owner.
pub struct Server {
    listener: Listener,
}

impl Server {
    /// Binds; the caller holds the machine's alive lock, so a socket that is
    /// there already is a leftover.
    pub fn bind(socket: &Path) -> io::Result<Self> {
        if cfg!(unix) && socket.exists() {
            std::fs::remove_file(socket)?;
        }
        let listener =
            owner_only(ListenerOptions::new().name(endpoint(socket)?))?.create_tokio()?;
        if cfg!(unix) {
            crate::host::restrict_to_owner(socket)?;
        }
        Ok(Self { listener })
    }

    /// The next client. Cancel safe.
    pub async fn accept(&self) -> io::Result<Stream> {
        self.listener.accept().await
    }
}

/// On Unix the 0700 directory around the socket keeps others out from the
/// first instant on.
#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)] // Windows can fail
fn owner_only(options: ListenerOptions<'_>) -> io::Result<ListenerOptions<'_>> {
    Ok(options)
}

/// Windows lets everyone read a pipe unless told otherwise: full access for
/// the owner and the system, none for anybody else.
#[cfg(windows)]
fn owner_only(options: ListenerOptions<'_>) -> io::Result<ListenerOptions<'_>> {
    use interprocess::os::windows::local_socket::ListenerOptionsExt;
    use interprocess::os::windows::security_descriptor::SecurityDescriptor;
    let sddl = widestring::U16CString::from_str_truncate("D:P(A;;GA;;;OW)(A;;GA;;;SY)");
    Ok(options.security_descriptor(SecurityDescriptor::deserialize(&sddl)?))
}

/// Reads the client's request.
pub async fn read_request(stream: &mut Stream) -> io::Result<Request> {
    let text = tokio::time::timeout(REQUEST_PATIENCE, read_line(stream)).await??;
    serde_json::from_slice(&text).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// What is before the next line feed. Byte by byte: what follows may be no line.
pub async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(128);
    while text.len() < MAX_LINE {
        match stream.read_u8().await? {
            b'\n' => return Ok(text),
            byte => text.push(byte),
        }
    }
    let reason = format!("a line is longer than {MAX_LINE} bytes");
    Err(io::Error::new(io::ErrorKind::InvalidData, reason))
}

pub async fn write_reply(stream: &mut (impl AsyncWrite + Unpin), reply: &Reply) -> io::Result<()> {
    stream.write_all(&line(reply)).await?;
    stream.flush().await
}

/// Waits until the client can have read what it was told last.
///
/// A Unix socket keeps that. What is in a pipe of Windows goes with the process
/// that wrote it, so there the client's hang-up is waited for, or its patience.
pub async fn let_it_hear(stream: &mut Stream) {
    if cfg!(windows) {
        let _ = tokio::time::timeout(HEARING_PATIENCE, stream.read_u8()).await;
    }
}
