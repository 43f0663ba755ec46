//! The seam between tokio and the link's thread: two bounded queues of bytes
//! that look like a socket from the tokio side.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncWrite};
use polling::Poller;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// Chunks in flight each way; with [`CHUNK`] it bounds memory at 1 MiB.
const DEPTH: usize = 16;

/// Small frames are gathered up to this size before the thread is woken.
pub(super) const CHUNK: usize = 32 * 1024;

/// Wakes the link's thread.
#[derive(Clone)]
pub(super) struct Bell {
    pub poller: Arc<Poller>,
    /// The thread found no room for what it read and waits to be told.
    pub hungry: Arc<AtomicBool>,
}

impl Bell {
    fn ring(&self) {
        let _ = self.poller.notify();
    }
}

/// What the link's thread holds.
pub(super) struct ThreadEnds {
    pub to_tokio: mpsc::Sender<Vec<u8>>,
    pub from_tokio: mpsc::Receiver<Vec<u8>>,
    pub bell: Bell,
}

/// What yamux reads and writes.
pub(super) struct ChannelIo {
    incoming: mpsc::Receiver<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    outgoing: PollSender<Vec<u8>>,
    gathered: Vec<u8>,
    bell: Bell,
}

pub(super) fn pair() -> io::Result<(ChannelIo, ThreadEnds)> {
    let bell = Bell { poller: Arc::new(Poller::new()?), hungry: Arc::default() };
    let (to_tokio, incoming) = mpsc::channel(DEPTH);
    let (outgoing, from_tokio) = mpsc::channel(DEPTH);
    let io = ChannelIo {
        incoming,
        current: Vec::new(),
        position: 0,
        outgoing: PollSender::new(outgoing),
        gathered: Vec::with_capacity(CHUNK),
        bell: bell.clone(),
    };
    Ok((io, ThreadEnds { to_tokio, from_tokio, bell }))
}

impl ChannelIo {
    /// Hands what was gathered to the thread.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.outgoing.poll_reserve(cx)).map_err(|_| closed())?;
        let chunk = std::mem::replace(&mut self.gathered, Vec::with_capacity(CHUNK));
        self.outgoing.send_item(chunk).map_err(|_| closed())?;
        self.bell.ring();
        Poll::Ready(Ok(()))
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the SSH channel ended")
}

impl AsyncRead for ChannelIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        while self.position == self.current.len() {
            let Some(chunk) = ready!(self.incoming.poll_recv(cx)) else {
                return Poll::Ready(Ok(0));
            };
            self.current = chunk;
            self.position = 0;
            if self.bell.hungry.swap(false, Ordering::AcqRel) {
                self.bell.ring();
            }
        }
        let n = buffer.len().min(self.current.len() - self.position);
        buffer[..n].copy_from_slice(&self.current[self.position..self.position + n]);
        self.position += n;
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for ChannelIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= CHUNK {
            ready!(self.poll_send(cx))?;
        }
        let n = bytes.len().min(CHUNK - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.outgoing.close();
        self.bell.ring();
        Poll::Ready(Ok(()))
    }
}

impl Drop for ChannelIo {
    /// The thread sees the closed queue only when it is awake.
    fn drop(&mut self) {
        self.outgoing.close();
        self.incoming.close();
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::io::AsyncWriteExt;

    use super::*;

    /// What yamux says in one turn is handed over, and sent, as one.
    #[test]
    fn small_frames_are_gathered_until_the_flush() {
        let (mut io, mut ends) = pair().unwrap();
        for frame in 0..100_u8 {
            io.write_all(&[frame; 20]).now_or_never().unwrap().unwrap();
        }
        assert!(ends.from_tokio.try_recv().is_err(), "not before");
        io.flush().now_or_never().unwrap().unwrap();
        let chunk = ends.from_tokio.try_recv().unwrap();
        assert_eq!((chunk.len(), chunk[0], chunk[1999]), (2000, 0, 99));
        assert!(ends.from_tokio.try_recv().is_err(), "one only");
        // More than a chunk does not wait for a flush.
        io.write_all(&vec![7; 2 * CHUNK + 1]).now_or_never().unwrap().unwrap();
        let sizes = [ends.from_tokio.try_recv().unwrap(), ends.from_tokio.try_recv().unwrap()];
        assert_eq!(sizes.map(|chunk| chunk.len()), [CHUNK, CHUNK]);
    }
}
