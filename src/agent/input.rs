//! The program's stdin: what has come from the host and is not yet written.
//!
//! The agent always reads on, so that a signal never waits behind input that
//! the program does not read; the credit bounds what can be queued.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::sys;
use crate::protocol::frame::{FrameError, Kind};
use crate::protocol::message::INITIAL_STDIN_CREDIT;

/// What may be queued for a program that reads on: one grant is larger by the
/// difference.
const WINDOW: usize = 4 * INITIAL_STDIN_CREDIT;

/// Credit is granted in steps of a quarter of what may be queued: each is a packet.
const STEPS: usize = 4;

/// The end of input in a terminal (termios(3), VEOF).
const CTRL_D: u8 = 4;

/// Where the bytes go.
enum Sink {
    /// Not waited for yet: most programs read what they get at once.
    Pipe(OwnedFd),
    Waited(AsyncFd<OwnedFd>),
    Terminal(Rc<AsyncFd<OwnedFd>>),
    /// Closed by us at the end of input, or by the program.
    Closed,
}

/// The program's stdin.
pub struct Input {
    sink: Sink,
    queue: VecDeque<u8>,
    ended: bool,
    /// What may be queued.
    window: usize,
    /// Something was granted. A pipe alone takes that much.
    has_granted: bool,
    /// Written since credit was last granted.
    consumed: usize,
}

impl Input {
    /// A pipe's writing end, non-blocking.
    pub fn pipe(fd: OwnedFd) -> Self {
        Self::new(Sink::Pipe(fd))
    }

    pub fn terminal(master: Rc<AsyncFd<OwnedFd>>) -> Self {
        Self::new(Sink::Terminal(master))
    }

    const fn new(sink: Sink) -> Self {
        let window = INITIAL_STDIN_CREDIT;
        Self { sink, queue: VecDeque::new(), ended: false, window, has_granted: false, consumed: 0 }
    }

    /// Takes bytes from the host and writes what the program takes now.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        if self.ended {
            return Err(FrameError::OutOfPlace(Kind::Stdin));
        }
        if self.queue.len() + bytes.len() > self.window {
            let reason = "more than the credit".to_owned();
            return Err(FrameError::Malformed { kind: Kind::Stdin, reason });
        }
        let written = if self.queue.is_empty() { self.write_through(bytes) } else { 0 };
        if !matches!(self.sink, Sink::Closed) {
            self.queue.extend(&bytes[written..]);
        }
        self.flush();
        Ok(())
    }

    /// Writes from where the bytes are, if nothing waits before them; how many.
    fn write_through(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() && !matches!(self.sink, Sink::Closed) {
            match self.write_once(&bytes[written..]) {
                Ok(count) => written += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.failed(&e);
                    break;
                }
            }
        }
        self.consumed += written;
        written
    }

    /// No more will come.
    pub fn end(&mut self) {
        self.ended = true;
        if let Sink::Terminal(_) = self.sink {
            self.queue.push_back(CTRL_D);
        }
        self.flush();
    }

    /// Whether bytes wait for the program to read.
    pub fn is_waiting(&self) -> bool {
        !self.queue.is_empty() && !matches!(self.sink, Sink::Closed)
    }

    /// Waits until the program may take more.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.sink {
            Sink::Waited(fd) => fd.writable().await.map(drop),
            Sink::Terminal(fd) => fd.writable().await.map(drop),
            Sink::Pipe(_) | Sink::Closed => std::future::pending().await,
        }
    }

    /// Writes what the program takes now.
    pub fn flush(&mut self) {
        while self.is_waiting() {
            let mut waiting = std::mem::take(&mut self.queue);
            let written = self.write_through(waiting.as_slices().0);
            // What a program does not want any more is dropped.
            if !matches!(self.sink, Sink::Closed) {
                waiting.drain(..written);
                self.queue = waiting;
            }
            if written == 0 {
                break;
            }
        }
        if self.ended && self.queue.is_empty() {
            self.close();
        }
    }

    /// Credit to grant now, in bytes; 0 for none. A closed stdin gets none.
    pub fn take_credit(&mut self) -> u32 {
        if self.consumed < self.window / STEPS || matches!(self.sink, Sink::Closed) {
            return 0;
        }
        let window = if self.has_granted { WINDOW } else { self.window };
        let more = window - self.window;
        (self.window, self.has_granted) = (window, true);
        u32::try_from(std::mem::take(&mut self.consumed) + more).unwrap_or(u32::MAX)
    }

    /// A program that has closed its stdin gets no more.
    fn failed(&mut self, error: &io::Error) {
        if error.kind() != io::ErrorKind::WouldBlock {
            self.close();
        }
    }

    fn close(&mut self) {
        self.queue.clear();
        self.sink = Sink::Closed;
    }

    fn write_once(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = |fd: &OwnedFd| rustix::io::write(fd, bytes).map_err(io::Error::from);
        match &self.sink {
            Sink::Pipe(fd) => match write(fd) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.start_waiting().and(Err(e)),
                result => result,
            },
            Sink::Waited(fd) => fd.try_io(Interest::WRITABLE, write),
            Sink::Terminal(fd) => fd.try_io(Interest::WRITABLE, write),
            Sink::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn start_waiting(&mut self) -> io::Result<()> {
        if let Sink::Pipe(fd) = std::mem::replace(&mut self.sink, Sink::Closed) {
            self.sink = Sink::Waited(sys::watch(fd, Interest::WRITABLE)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;

    use super::*;

    fn input() -> (File, Input) {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        (File::from(read), Input::pipe(write))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn bytes_pass_in_order_and_the_end_follows_them() {
        let (mut read, mut input) = input();
        let bytes: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0]).collect();
        input.push(&bytes).unwrap();
        input.end();
        let mut got = Vec::new();
        while got.len() < bytes.len() {
            let _ = read.read_to_end(&mut got);
            if input.is_waiting() {
                input.writable().await.unwrap();
                input.flush();
            }
        }
        assert_eq!(got, bytes);
        assert_eq!(read.read(&mut [0]).unwrap(), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn credit_comes_back_only_for_what_was_taken() {
        let (mut read, mut input) = input();
        input.push(&vec![0; INITIAL_STDIN_CREDIT]).unwrap();
        // A pipe holds 64 KiB.
        assert_eq!(input.take_credit(), 65_536);
        assert_eq!(input.take_credit(), 0);
        assert!(input.push(&vec![0; 65_537]).is_err());
        let mut take = async |input: &mut Input| {
            let _ = read.read_to_end(&mut Vec::new());
            input.writable().await.unwrap();
            input.flush();
        };
        take(&mut input).await;
        // It reads on: the window opens.
        assert_eq!(input.take_credit() as usize, 65_536 + WINDOW - INITIAL_STDIN_CREDIT);
        let waits = INITIAL_STDIN_CREDIT - 2 * 65_536;
        input.push(&vec![0; WINDOW - waits]).unwrap();
        assert!(input.push(&[0]).is_err());
        for _ in 0..WINDOW / STEPS / 65_536 {
            assert_eq!(input.take_credit(), 0);
            take(&mut input).await;
        }
        assert_eq!(input.take_credit() as usize, WINDOW / STEPS);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_program_that_closes_its_stdin_gets_no_more() {
        let (read, mut input) = input();
        drop(read);
        input.push(&[0; 10]).unwrap();
        assert!(!input.is_waiting());
        input.push(&vec![0; INITIAL_STDIN_CREDIT]).unwrap();
        assert_eq!(input.take_credit(), 0);
    }
}
