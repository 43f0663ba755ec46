//! The CLI's side of the control endpoint: plain blocking I/O, so that a
//! short command needs no async runtime.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use interprocess::local_socket::{Stream, prelude::*};

use super::endpoint;
use super::message::{MAX_LINE, Reply, Request, line};
use crate::machine::event::Progress;

/// A connection on which one request was made.
pub struct Client {
    stream: Stream,
}

impl Client {
    /// Connects and asks. `NotFound` and `ConnectionRefused` mean that no
    /// supervisor is there.
    pub fn ask(socket: &Path, request: &Request) -> io::Result<Self> {
        tracing::debug!(?request, socket = %socket.display(), "asking the supervisor");
        let mut stream = Stream::connect(endpoint(socket)?)?;
        stream.write_all(&line(request))?;
        Ok(Self { stream })
    }

    /// The next reply; an error when the supervisor is gone.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let text = self.read_line()?;
        serde_json::from_slice(&text).map_err(|e| {
            io::Error::new(io::ErrorKind::InvalidData, format!("a reply that is none: {e}"))
        })
    }

    /// The next reply, if it comes within `patience`: `TimedOut` says that the
    /// supervisor hangs. Windows' pipes know no such deadline.
    pub fn reply_within(&mut self, patience: Duration) -> io::Result<Reply> {
        let limited = self.stream.set_recv_timeout(Some(patience)).is_ok();
        let reply = self.reply();
        if limited {
            self.stream.set_recv_timeout(None)?;
        }
        reply.map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let text = format!("it has not answered for {} s", patience.as_secs());
                io::Error::new(io::ErrorKind::TimedOut, text)
            }
            _ => e,
        })
    }

    /// The reply behind the events, which are told.
    pub fn last_reply(&mut self, progress: &dyn Progress) -> io::Result<Reply> {
        loop {
            match self.reply()? {
                Reply::Event { inner } => progress.event(&inner),
                last => return Ok(last),
            }
        }
    }

    /// Byte by byte: what follows the line belongs to the session.
    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(128);
        let mut byte = [0];
        while text.len() < MAX_LINE {
            self.stream.read_exact(&mut byte)?;
            if byte[0] == b'\n' {
                return Ok(text);
            }
            text.push(byte[0]);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a reply without an end"))
    }

    /// The connection itself, once a session is granted: `&Stream` reads and
    /// writes, so it can be shared by two threads.
    pub fn into_stream(self) -> Stream {
        self.stream
    }
}

/// Whether the error means that nobody listens.
pub fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Whether the error means that the supervisor ended before it answered.
pub fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}
