//! A link: two descriptors handed over by `attach`, or a virtio port, as one
//! connection for yamux.
//!
//! yamux reads and writes a frame's header and body one by one and flushes
//! after each frame; here reads are buffered and what is written goes out in
//! one call once yamux has nothing more to say.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncWrite};
use nix::fcntl::FcntlArg;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::sys;

/// What is read at once.
const BUFFER: usize = 64 * 1024;

/// Bodies from this size on are written from where they are.
const DIRECT: usize = 8 * 1024;

/// A descriptor in the runtime's epoll.
type Watched = Rc<AsyncFd<OwnedFd>>;

/// The connection that yamux owns.
pub struct Link {
    input: Watched,
    gives: Gives,
    read: Vec<u8>,
    start: usize,
    end: usize,
    output: Rc<RefCell<Output>>,
}

/// How much one read gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    /// All there is: less than was asked for is the last of it, which spares the
    /// read that would say so.
    All,
    /// The rest of a page, however much lies behind it.
    OnePage,
}

/// The writing half, which the link's driver flushes.
pub struct Output {
    fd: Watched,
    pending: Vec<u8>,
    room: Room,
    /// The pipe has that room.
    is_set: bool,
    /// What this turn may still write.
    left: usize,
}

/// How much may be on its way to sshd, where a word of one stream waits behind
/// what others have said before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// For one stream, which waits for nobody: fewer and larger writes.
    Wide,
    /// For several.
    Narrow,
}

impl Room {
    /// Of a pipe, in bytes. The kernel's own choice, 64 KiB, holds no whole frame.
    const fn bytes(self) -> i32 {
        match self {
            Self::Wide => 128 * 1024,
            Self::Narrow => 16 * 1024,
        }
    }

    /// How much unwritten output stops yamux.
    const fn pending(self) -> usize {
        match self {
            Self::Wide => BUFFER,
            Self::Narrow => 8 * 1024,
        }
    }

    /// How much is written before the runtime looks what has arrived: by itself tokio
    /// does so after 61 tasks, and of translated writes each takes a part of a
    /// millisecond.
    const fn turn(self) -> usize {
        match self {
            Self::Wide => 4 * BUFFER,
            Self::Narrow => 8 * 1024,
        }
    }

    /// The most of one stream in one go, with headers less than the pipe takes.
    pub const fn share(self) -> usize {
        match self {
            Self::Wide => usize::MAX,
            Self::Narrow => 8 * 1024 - 64,
        }
    }
}

impl Link {
    /// Wraps pipes, sockets or one socket twice; fails for anything that
    /// cannot be waited for.
    pub fn new(input: OwnedFd, output: OwnedFd) -> io::Result<Self> {
        let input = Rc::new(watch(input, Interest::READABLE)?);
        let output = Rc::new(watch(output, Interest::WRITABLE)?);
        Ok(Self::of(input, output, Gives::All))
    }

    /// Of a virtio port. It is watched once for both: of two watchers the kernel may
    /// tell neither about what has arrived. Whoever asks it takes a full buffer from the
    /// queue, and an interrupt that finds none there wakes nobody
    /// (drivers/char/virtio_console.c: `port_fops_poll`, `get_inbuf`; `vring_interrupt`).
    pub fn of_port(port: OwnedFd) -> io::Result<Self> {
        let port = Rc::new(watch(port, Interest::READABLE | Interest::WRITABLE)?);
        Ok(Self::of(Rc::clone(&port), port, Gives::OnePage))
    }

    fn of(input: Watched, output: Watched, gives: Gives) -> Self {
        let output = Rc::new(RefCell::new(Output {
            fd: output,
            pending: Vec::new(),
            room: Room::Wide,
            is_set: false,
            left: Room::Wide.turn(),
        }));
        Self { input, gives, read: vec![0; BUFFER], start: 0, end: 0, output }
    }

    pub fn output(&self) -> Rc<RefCell<Output>> {
        Rc::clone(&self.output)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let count = ready!(poll_read_fd(&self.input, self.gives, cx, &mut self.read))?;
        (self.start, self.end) = (0, count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let link = &mut *self;
        if link.start == link.end {
            if buf.len() >= BUFFER {
                return poll_read_fd(&link.input, link.gives, cx, buf);
            }
            ready!(link.poll_fill(cx))?;
        }
        let held = &link.read[link.start..link.end];
        let count = held.len().min(buf.len());
        buf[..count].copy_from_slice(&held[..count]);
        link.start += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.output.borrow_mut().poll_write(cx, buf)
    }

    /// Does nothing: the driver flushes when yamux is done.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.borrow_mut().poll_flush(cx)
    }
}

impl Output {
    /// A turn begins, with so much room.
    pub fn begin_turn(&mut self, room: Room) {
        self.left = room.turn();
        self.set_room(room);
    }

    /// Whether this turn has written all it may: another one has to follow.
    pub const fn has_to_wait(&self) -> bool {
        self.left == 0
    }

    /// Has the pipe hold so much from now on. One that is fuller gets smaller later;
    /// a socket stays as it is.
    fn set_room(&mut self, room: Room) {
        if self.room == room && self.is_set {
            return;
        }
        self.room = room;
        let set = nix::fcntl::fcntl(&self.fd, FcntlArg::F_SETPIPE_SZ(room.bytes()));
        self.is_set = set != Err(nix::errno::Errno::EBUSY);
    }

    /// Bytes before the first of yamux.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
    }

    /// Writes what is pending; ready when nothing is.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(poll_write_fd(&self.fd, cx, &[&self.pending], &mut self.left))?;
            self.pending.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.len() >= DIRECT {
            return self.poll_write_direct(cx, buf);
        }
        if self.pending.len() + buf.len() > self.room.pending() {
            ready!(self.poll_flush(cx))?;
        }
        self.pending.extend(buf);
        Poll::Ready(Ok(buf.len()))
    }

    /// Writes what is pending and `buf` behind it, in one call if it fits.
    fn poll_write_direct(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let written =
                ready!(poll_write_fd(&self.fd, cx, &[&self.pending, buf], &mut self.left))?;
            let of_pending = written.min(self.pending.len());
            self.pending.drain(..of_pending);
            if written > of_pending {
                return Poll::Ready(Ok(written - of_pending));
            }
        }
    }
}

fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    sys::watch(fd, interest)
}

fn poll_read_fd(
    fd: &AsyncFd<OwnedFd>,
    gives: Gives,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        let mut guard = ready!(fd.poll_read_ready(cx))?;
        match rustix::io::read(fd, &mut *buf) {
            Ok(count) => {
                if gives == Gives::All && count > 0 && count < buf.len() {
                    guard.clear_ready();
                }
                return Poll::Ready(Ok(count));
            }
            Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Poll::Ready(Err(e.into())),
        }
    }
}

fn poll_write_fd(
    fd: &AsyncFd<OwnedFd>,
    cx: &mut Context<'_>,
    parts: &[&[u8]],
    left: &mut usize,
) -> Poll<io::Result<usize>> {
    if *left == 0 {
        return Poll::Pending;
    }
    let slices: Vec<_> =
        parts.iter().filter(|p| !p.is_empty()).map(|p| io::IoSlice::new(p)).collect();
    loop {
        let mut guard = ready!(fd.poll_write_ready(cx))?;
        match rustix::io::writev(fd, &slices) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                *left = left.saturating_sub(count);
                return Poll::Ready(Ok(count));
            }
            Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Poll::Ready(Err(e.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::io::AsyncWriteExt;
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_pipe_gets_smaller_once_it_is_emptier() {
        let (unused, _keep) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let size = |fd: &OwnedFd| nix::fcntl::fcntl(fd, FcntlArg::F_GETPIPE_SZ).unwrap();
        let link = Link::new(unused, writer).unwrap();
        let output = link.output();
        output.borrow_mut().set_room(Room::Wide);
        assert_eq!(size(&reader), Room::Wide.bytes());
        rustix::io::write(&output.borrow().fd, &vec![0; 40_000]).unwrap();
        output.borrow_mut().set_room(Room::Narrow);
        assert_eq!(size(&reader), Room::Wide.bytes());
        assert_eq!(rustix::io::read(&reader, &mut vec![0; 40_000]).unwrap(), 40_000);
        output.borrow_mut().set_room(Room::Narrow);
        assert_eq!(size(&reader), Room::Narrow.bytes());
    }

    /// In a pipe of packets each write is one: what yamux says in one turn goes
    /// out in one.
    #[tokio::test(flavor = "current_thread")]
    async fn small_frames_go_out_together() {
        let (unused, _keep) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT).unwrap();
        let mut link = Link::new(unused, writer).unwrap();
        for frame in 0..100_u8 {
            link.write_all(&[frame; 20]).await.unwrap();
            link.flush().await.unwrap();
        }
        let output = link.output();
        poll_fn(|cx| output.borrow_mut().poll_flush(cx)).await.unwrap();
        let mut packet = [0; 4096];
        assert_eq!(rustix::io::read(&reader, &mut packet).unwrap(), 2000);
        assert_eq!((packet[0], packet[1999]), (0, 99));
        // A large body is written from where it is, behind what is pending.
        link.write_all(&[1; 30]).await.unwrap();
        link.write_all(&[2; DIRECT]).await.unwrap();
        let mut packet = [0; 2 * DIRECT];
        let mut count = 0;
        while count < 30 + DIRECT {
            count += rustix::io::read(&reader, &mut packet[count..]).unwrap();
        }
        assert!(packet[..30] == [1; 30] && packet[30..count] == [2; DIRECT]);
    }
}
