//! Streams on the way to the agent.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use sha2::{Digest, Sha256};

use crate::machine::event::Event;

/// Takes bytes and keeps their SHA-256.
#[derive(Default)]
pub struct Hashing(Sha256);

impl Hashing {
    /// Lower-case digits.
    pub fn hex(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A trailer behind a tar that could be read to its end. An error ends the
/// stream without it, and is kept: a session tells only that stdin has ended.
pub struct Sent {
    tar: Box<dyn Read + Send>,
    trailer: &'static [u8],
    failed: Failed,
}

/// What has gone wrong with a [`Sent`].
#[derive(Clone, Default)]
pub struct Failed(Arc<Mutex<Option<io::Error>>>);

impl Failed {
    pub fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Sent {
    pub fn new(tar: Box<dyn Read + Send>, trailer: &'static [u8]) -> Self {
        Self { tar, trailer, failed: Failed::default() }
    }

    pub fn failed(&self) -> Failed {
        self.failed.clone()
    }
}

impl Read for Sent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.tar.read(buffer) {
            Ok(0) => self.trailer.read(buffer),
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                let copy = io::Error::from(e.kind());
                *self.failed.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                Err(copy)
            }
            read => read,
        }
    }
}

/// Tells how far the reading of a source is.
pub struct Watched {
    what: String,
    total: Option<u64>,
    events: Sender<Option<Event>>,
}

/// Ends the events when it is dropped.
pub struct End(Sender<Option<Event>>);

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.0.send(None);
    }
}

impl Watched {
    /// The events end with `None`.
    pub fn new(source: &Path) -> (Self, Receiver<Option<Event>>) {
        let (events, receiver) = channel();
        let name = source.file_name().unwrap_or(source.as_os_str()).to_string_lossy();
        let total = source.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
        (Self { what: format!("sending {name}"), total, events }, receiver)
    }

    /// For what is not sent as it lies there.
    #[must_use]
    pub fn of_unknown_length(self) -> Self {
        Self { total: None, ..self }
    }

    pub fn end(&self) -> End {
        End(self.events.clone())
    }

    pub fn over<R: Read>(self, reader: R) -> WatchedReader<R> {
        WatchedReader { reader, watched: self, done: 0, told: 0 }
    }
}

/// A reader that is watched.
pub struct WatchedReader<R> {
    reader: R,
    watched: Watched,
    done: u64,
    told: u64,
}

impl<R: Read> Read for WatchedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        /// Bytes between two events: a screen shows no finer.
        const STRIDE: u64 = 1 << 20;
        let count = self.reader.read(buffer)?;
        self.done += count as u64;
        let Watched { what, total, events } = &self.watched;
        if self.done - self.told >= STRIDE || (count == 0 && self.told < self.done) {
            self.told = self.done;
            let event = Event::Bytes { what: what.clone(), done: self.done, total: *total };
            // Nobody has to listen.
            let _ = events.send(Some(event));
        }
        Ok(count)
    }
}

/// What `write` writes, from a thread of its own. Its error is the reader's.
pub fn piped(
    write: impl FnOnce(PipeWriter) -> io::Result<()> + Send + 'static,
) -> io::Result<impl Read + Send> {
    let (reader, writer) = io::pipe()?;
    let thread = thread::Builder::new().name("tar".to_owned()).spawn(move || write(writer))?;
    Ok(Piped { reader, thread: Some(thread) })
}

struct Piped {
    reader: PipeReader,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reader.read(buffer)? {
            0 => {
                let ended = self.thread.take().map_or(Ok(Ok(())), thread::JoinHandle::join);
                ended.map_err(|_| io::Error::other("reading it panicked"))??;
                Ok(0)
            }
            count => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trailer_comes_behind_a_whole_tar_alone() {
        let mut bytes = Vec::new();
        Sent::new(Box::new(&b"tar"[..]), b"end").read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"tarend");
        let broken = piped(|mut pipe| {
            pipe.write_all(b"half")?;
            Err(io::Error::other("unreadable"))
        });
        let mut sent = Sent::new(Box::new(broken.unwrap()), b"end");
        let (failed, mut bytes) = (sent.failed(), Vec::new());
        sent.read_to_end(&mut bytes).unwrap_err();
        assert_eq!(bytes, b"half");
        assert_eq!(failed.take().unwrap().to_string(), "unreadable");
    }
}
