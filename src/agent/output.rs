//! The program's stdout and stderr, read straight into frames.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::protocol::frame::{self, HEADER, Kind, MAX_DATA};
use crate::protocol::message::FromAgent;

/// One output of the program.
pub struct Source {
    fd: Option<Rc<AsyncFd<OwnedFd>>>,
    kind: Kind,
}

/// Frames on their way to the host, in memory that is used again.
#[derive(Default)]
pub struct Frames {
    bytes: Vec<u8>,
    used: usize,
}

impl Source {
    pub const fn new(fd: Rc<AsyncFd<OwnedFd>>, kind: Kind) -> Self {
        Self { fd: Some(fd), kind }
    }

    /// One that has already ended.
    pub const fn none() -> Self {
        Self { fd: None, kind: Kind::Stderr }
    }

    pub const fn is_open(&self) -> bool {
        self.fd.is_some()
    }

    /// Stops reading: the program gets SIGPIPE when it writes on.
    pub fn close(&mut self) {
        self.fd = None;
    }

    /// Waits until there is something to read; forever once closed.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.fd {
            Some(fd) => fd.readable().await.map(drop),
            None => std::future::pending().await,
        }
    }

    /// Reads what is there as one frame; whether that was anything.
    pub fn read_into(&mut self, frames: &mut Frames) -> bool {
        let Some(fd) = &self.fd else { return false };
        let space = frames.space(HEADER + MAX_DATA);
        let read = |fd: &OwnedFd| Ok(rustix::io::read(fd, &mut space[HEADER..])?);
        match fd.try_io(Interest::READABLE, read) {
            Ok(count) if count > 0 => {
                space[..HEADER].copy_from_slice(&frame::header(self.kind, count));
                frames.used += HEADER + count;
                true
            }
            Err(e) if is_temporary(&e) => false,
            // The end; EIO is that of a terminal whose programs have gone.
            Ok(_) | Err(_) => {
                self.close();
                false
            }
        }
    }
}

impl Frames {
    pub fn push(&mut self, message: &FromAgent<'_>) {
        self.bytes.truncate(self.used);
        message.encode(&mut self.bytes);
        self.used = self.bytes.len();
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// They have been sent.
    pub const fn clear(&mut self) {
        self.used = 0;
    }

    fn space(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.len() < self.used + size {
            self.bytes.resize(self.used + size, 0);
        }
        &mut self.bytes[self.used..]
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
