//! The CLI's side of the control endpoint: plain blocking I/O, so that a
//! short command needs no async runtime.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use interprocess::local_socket::{Stream, prelude::*};

use super::endpoint;
use super::message::{MAX_LINE, Reply, Request, line};
use crate::machine::event::Progress;

/// A supervisor that has said nothing for so long is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(10);

/// It answers at once, on a host that is very busy within seconds.
const PROOF: Duration = Duration::from_secs(10);

/// A connection on which one request was made.
pub struct Client {
    stream: Arc<Stream>,
    socket: PathBuf,
    /// What has come of a line.
    text: Vec<u8>,
    /// Reads the line, where reads know no deadline.
    reading: Option<Reading>,
}

/// A thread's line.
type Reading = mpsc::Receiver<io::Result<Vec<u8>>>;

impl Client {
    /// Connects and asks. `NotFound` and `ConnectionRefused` mean that no
    /// supervisor is there.
    pub fn ask(socket: &Path, request: &Request) -> io::Result<Self> {
        tracing::debug!(?request, socket = %socket.display(), "asking the supervisor");
        let mut stream = Stream::connect(endpoint(socket)?)?;
        stream.write_all(&line(request))?;
        let socket = socket.to_owned();
        Ok(Self { stream: Arc::new(stream), socket, text: Vec::new(), reading: None })
    }

    /// The next reply, however long it takes; an error when the supervisor is
    /// gone, and [`Hung`] when it is there and answers nobody.
    pub fn reply(&mut self) -> io::Result<Reply> {
        loop {
            match self.reply_within(SILENCE) {
                Err(e) if is_late(&e) => self.prove_alive()?,
                other => return other,
            }
        }
    }

    fn prove_alive(&self) -> io::Result<()> {
        let asked = Self::ask(&self.socket, &Request::Status)
            .and_then(|mut client| client.reply_within(PROOF).map(drop));
        match asked {
            Err(e) if is_late(&e) => {
                let hung = Hung { pid: self.server_pid() };
                Err(io::Error::new(io::ErrorKind::TimedOut, hung))
            }
            // It lives, or it is gone: then the next read says so.
            _ => Ok(()),
        }
    }

    /// The next reply, if it comes within `patience`; else `TimedOut`, and a
    /// later call goes on waiting.
    pub fn reply_within(&mut self, patience: Duration) -> io::Result<Reply> {
        let text = self.line_within(patience).map_err(|e| {
            if !is_late(&e) {
                return e;
            }
            let text = format!("it has not answered for {} s", patience.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, text)
        })?;
        serde_json::from_slice(&text).map_err(|e| {
            io::Error::new(io::ErrorKind::InvalidData, format!("a reply that is none: {e}"))
        })
    }

    fn line_within(&mut self, patience: Duration) -> io::Result<Vec<u8>> {
        if self.reading.is_some() || self.stream.set_recv_timeout(Some(patience)).is_err() {
            return self.line_aside(patience);
        }
        let read = read_line(&self.stream, &mut self.text);
        self.stream.set_recv_timeout(None)?;
        read.map(|()| std::mem::take(&mut self.text))
    }

    /// Windows' pipes know no deadline: a thread reads, which ends with its line
    /// or with the process.
    fn line_aside(&mut self, patience: Duration) -> io::Result<Vec<u8>> {
        let reading = match self.reading.take() {
            Some(reading) => reading,
            None => read_aside(&self.stream)?,
        };
        match reading.recv_timeout(patience) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                self.reading = Some(reading);
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
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

    /// The process at the other end, where the system tells.
    fn server_pid(&self) -> Option<u32> {
        let pid = self.stream.peer_creds().ok()?.pid()?;
        // A number of a process is positive, and on Windows of this type.
        #[allow(clippy::useless_conversion)]
        u32::try_from(pid).ok()
    }

    /// The connection itself, once a session is granted: `&Stream` reads and
    /// writes, so it can be shared by two threads.
    pub fn into_stream(self) -> Arc<Stream> {
        self.stream
    }
}

/// Reads into `text` up to the line feed, which is dropped. Byte by byte: what
/// follows the line belongs to the session.
fn read_line(mut stream: &Stream, text: &mut Vec<u8>) -> io::Result<()> {
    let mut byte = [0];
    while text.len() < MAX_LINE {
        stream.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            return Ok(());
        }
        text.push(byte[0]);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a reply without an end"))
}

fn read_aside(stream: &Arc<Stream>) -> io::Result<Reading> {
    let (said, heard) = mpsc::channel();
    let stream = Arc::clone(stream);
    thread::Builder::new().name("reply".to_owned()).spawn(move || {
        let mut text = Vec::new();
        let read = read_line(&stream, &mut text);
        drop(stream);
        let _ = said.send(read.map(|()| text));
    })?;
    Ok(heard)
}

/// A supervisor that is there and answers nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its supervisor has not answered for {} s", (SILENCE + PROOF).as_secs())]
pub struct Hung {
    /// Its process, where the kernel says who is at the other end.
    pub pid: Option<u32>,
}

impl Hung {
    /// What the error means, if it means that.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

/// Whether the error means that nothing came in time.
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn served() -> (tempfile::TempDir, Client, UnixStream) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let client = Client::ask(&socket, &Request::Status).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        // A connection that is closed over unread bytes is reset.
        let mut request = [0; 64];
        assert!(server.read(&mut request).unwrap() > 0);
        (dir, client, server)
    }

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn a_reply_may_come_in_pieces_and_late() {
        let (_dir, mut client, mut server) = served();
        server.write_all(b"{\"reply\":").unwrap();
        assert!(is_late(&client.reply_within(SHORT).unwrap_err()));
        server.write_all(b"\"done\"}\nbehind").unwrap();
        assert_eq!(client.reply_within(SILENCE).unwrap(), Reply::Done);
        // The session's bytes are left alone.
        let mut rest = [0; 6];
        (&*client.into_stream()).read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"behind");
    }

    #[test]
    fn a_line_that_is_read_aside_has_a_deadline_and_is_not_lost() {
        let (_dir, mut client, mut server) = served();
        server.write_all(b"one").unwrap();
        assert!(is_late(&client.line_aside(SHORT).unwrap_err()));
        server.write_all(b" line\nbehind").unwrap();
        assert_eq!(client.line_aside(SILENCE).unwrap(), b"one line");
        drop(server);
        let mut rest = Vec::new();
        (&*client.into_stream()).read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"behind");
    }

    #[test]
    fn the_process_that_listens_is_known() {
        let (_dir, client, server) = served();
        let known = client.server_pid();
        assert!(known.is_none_or(|pid| pid == std::process::id()), "{known:?}");
        drop(server);
        assert!(hung_up(&{ client }.reply_within(SILENCE).unwrap_err()));
    }
}
