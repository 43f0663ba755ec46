//! A reader whose bytes a thread of its own fetches ahead, so that the stage
//! behind it works at the same time. Bounded: the thread waits while nobody
//! reads, and ends when nobody will.

use std::io::{self, Read};
use std::mem;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// Read at once: large beside what handing over costs, small beside the memory
/// of a decoder.
const PIECE: usize = 256 << 10;

/// Pieces under way: 4 MiB outlast the pauses of a disk or of a busy host.
const PIECES: usize = 16;

pub struct Ahead {
    full: Receiver<io::Result<Vec<u8>>>,
    /// Buffers that were read go back to the thread.
    used: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

/// Lets a thread called `name` read `from`, which it gives back when it has
/// ended: after the end of `from`, an error of it, or the drop of [`Ahead`].
pub fn spawn<'scope, R: Read + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    from: R,
) -> io::Result<(Ahead, ScopedJoinHandle<'scope, R>)> {
    let (send, full) = sync_channel(PIECES);
    let (used, buffers) = channel();
    let thread = Builder::new().name(name.to_owned());
    let thread = thread.spawn_scoped(scope, move || pump(from, &send, &buffers))?;
    Ok((Ahead { full, used, piece: Vec::new(), at: 0 }, thread))
}

/// What the thread had, and its panic if it had one.
pub fn join<R>(thread: ScopedJoinHandle<'_, R>) -> R {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Hands over what is read as it comes; the end is an empty piece.
fn pump<R: Read>(
    mut from: R,
    to: &SyncSender<io::Result<Vec<u8>>>,
    buffers: &Receiver<Vec<u8>>,
) -> R {
    loop {
        let mut piece = buffers.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let read = match from.read(&mut piece) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read,
        };
        let last = !matches!(read, Ok(1..));
        let sent = to.send(read.map(|n| {
            piece.truncate(n);
            piece
        }));
        if last || sent.is_err() {
            return from;
        }
    }
}

impl Ahead {
    /// Reads the rest, which is wanted only for what reading it does.
    pub fn drain(&mut self) -> io::Result<u64> {
        io::copy(self, &mut io::sink())
    }

    /// Nothing, once the thread has ended.
    fn next_piece(&mut self) -> io::Result<()> {
        let used = mem::take(&mut self.piece);
        self.at = 0;
        // An error means that the thread has ended and needs no buffers.
        let _ = self.used.send(used);
        self.piece = self.full.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
        Ok(())
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            self.next_piece()?;
        }
        let n = buffer.len().min(self.piece.len() - self.at);
        buffer[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn bytes() -> Vec<u8> {
        (0..=250).cycle().take(3 * PIECE).collect()
    }

    #[test]
    fn everything_comes_in_order_and_the_reader_comes_back() {
        let (bytes, mut read) = (bytes(), Vec::new());
        let rest = thread::scope(|scope| {
            let (mut ahead, thread) = spawn(scope, "test", &bytes[..]).unwrap();
            ahead.read_to_end(&mut read).unwrap();
            assert_eq!(ahead.drain().unwrap(), 0, "the end stays the end");
            join(thread)
        });
        assert_eq!((read, rest.len()), (bytes, 0));
    }

    #[test]
    fn nobody_reads_and_it_waits_and_ends() {
        let unread = thread::scope(|scope| {
            let (ahead, thread) = spawn(scope, "test", io::repeat(7).take(1 << 40)).unwrap();
            drop(ahead);
            join(thread)
        });
        let taken = (1 << 40) - unread.limit();
        assert!(taken <= ((PIECES + 1) * PIECE) as u64, "{taken} bytes were read ahead");
    }

    #[test]
    fn an_error_comes_after_what_was_read() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("torn"))
            }
        }
        thread::scope(|scope| {
            let (mut ahead, thread) = spawn(scope, "test", (&b"ab"[..]).chain(Broken)).unwrap();
            let mut two = [0; 2];
            ahead.read_exact(&mut two).unwrap();
            assert_eq!(&two, b"ab");
            assert_eq!(ahead.read(&mut two).unwrap_err().to_string(), "torn");
            join(thread);
        });
    }
}
