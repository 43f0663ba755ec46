//! Streams that outlive their link: what a client opened is found again by its
//! token, and keeps what the client has not confirmed.
//!
//! ```text
//! opening, new ----> Resumable --> session         registry: token -> Kept
//! opening, resume -> Kept.way replaced, the session goes on
//! ```

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::channel::Stream;
use crate::protocol::resume::{self, Answer, Opening, ResumeError};

/// Read at once from a way.
const BUFFER: usize = 64 * 1024;

/// The streams that clients may come back to.
pub struct Registry {
    /// By id, with the secret.
    kept: RefCell<HashMap<[u8; 16], Entry>>,
    patience: Duration,
    /// Used by whichever stream reads: there is one thread.
    buffer: Rc<RefCell<Vec<u8>>>,
}

/// Its secret, and the stream while its session lasts.
type Entry = ([u8; 16], Weak<Kept>);

/// What carries a stream for the time being.
pub struct Way {
    stream: Box<dyn Stream>,
    /// Set before the stream ends, if it ends with its link.
    lost: Rc<Cell<bool>>,
    /// The most it is given at once: others have their turn in between.
    share: Rc<Cell<usize>>,
    out: Vec<u8>,
    written: usize,
}

/// One stream, with or without a way.
struct Kept {
    state: RefCell<State>,
    /// Who waits for a way.
    waker: Cell<Option<Waker>>,
}

struct State {
    stream: resume::Resumable,
    way: Option<Way>,
    ended: bool,
}

/// The session's end of one stream.
pub struct Resumable {
    kept: Rc<Kept>,
    patience: Duration,
    /// Runs while there is no way.
    timer: Option<Pin<Box<Sleep>>>,
    buffer: Rc<RefCell<Vec<u8>>>,
}

/// How a look at the way ended.
#[derive(Clone, Copy)]
enum Found {
    Open,
    /// The link is lost; the client may come back.
    Away,
    /// The client is gone, or broke the rules.
    Ended,
}

impl Registry {
    /// Streams without a way are kept for `patience`.
    pub fn new(patience: Duration) -> Self {
        let buffer = Rc::new(RefCell::new(vec![0; BUFFER]));
        Self { kept: RefCell::default(), patience, buffer }
    }

    /// A new stream for this opening, or `None` when an old one went on by this
    /// way or there is none.
    pub fn open(&self, opening: &Opening, mut way: Way) -> Option<Resumable> {
        let Some(received) = opening.resume else { return self.begin(opening, way) };
        match self.find(opening) {
            Some(kept) if kept.resume(received, &mut way).is_ok() => kept.go_on(way),
            _ => way.refuse(),
        }
        None
    }

    /// A token that is in use names nothing new: only its owner could say it.
    fn begin(&self, opening: &Opening, way: Way) -> Option<Resumable> {
        let mut all = self.kept.borrow_mut();
        all.retain(|_, (_, kept)| kept.strong_count() > 0);
        if all.contains_key(&opening.token.id) {
            return None;
        }
        let state = State { stream: resume::Resumable::default(), way: Some(way), ended: false };
        let kept = Rc::new(Kept { state: RefCell::new(state), waker: Cell::default() });
        all.insert(opening.token.id, (opening.token.secret, Rc::downgrade(&kept)));
        let buffer = Rc::clone(&self.buffer);
        Some(Resumable { kept, patience: self.patience, timer: None, buffer })
    }

    fn find(&self, opening: &Opening) -> Option<Rc<Kept>> {
        let all = self.kept.borrow();
        let (secret, kept) = all.get(&opening.token.id)?;
        kept.upgrade().filter(|_| opening.token.proves(secret))
    }
}

impl Way {
    /// `lost` is set before `stream` ends if that ends with its link.
    pub fn new(
        stream: impl Stream + 'static,
        lost: Rc<Cell<bool>>,
        share: Rc<Cell<usize>>,
    ) -> Self {
        Self { stream: Box::new(stream), lost, share, out: Vec::new(), written: 0 }
    }

    /// Says so and hangs up, without a wait: 13 bytes find room on a new way.
    fn refuse(mut self) {
        self.out.extend(Answer::Unknown.encode());
        let mut cx = Context::from_waker(Waker::noop());
        let _ = self.poll_flush(&mut cx);
        let _ = Pin::new(&mut self.stream).poll_close(&mut cx);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let rest = &self.out[self.written..];
            self.written += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl Kept {
    fn resume(&self, received: u64, way: &mut Way) -> Result<(), ResumeError> {
        let stream = &mut self.state.borrow_mut().stream;
        stream.resumed(received)?;
        way.out.extend(Answer::Attached(stream.received()).encode());
        Ok(())
    }

    /// Whatever carried it before does so no more, even if it is still there.
    fn go_on(&self, way: Way) {
        self.state.borrow_mut().way = Some(way);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl State {
    /// Moves what can be moved, both ways: what comes into `wanted` first, and so
    /// many bytes of it.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        wanted: &mut [u8],
    ) -> (usize, Found) {
        if self.ended {
            return (0, Found::Ended);
        }
        let Some(way) = &mut self.way else { return (0, Found::Away) };
        let (filled, lost) = match pull(&mut self.stream, way, cx, buffer, wanted) {
            Ok(filled) => (filled, push(&mut self.stream, way, cx).err()),
            Err((filled, lost)) => (filled, Some(lost)),
        };
        (filled, lost.map_or(Found::Open, |lost| self.lost(&lost)))
    }

    fn lost(&mut self, lost: &Lost) -> Found {
        let link_lost = self.way.as_ref().is_some_and(|way| way.lost.get());
        match lost {
            Lost::Way if link_lost => {
                self.way = None;
                return Found::Away;
            }
            Lost::Way => {}
            Lost::Rules(error) => eprintln!("nsvm-agent: hanging up on a client: {error}"),
        }
        self.ended = true;
        Found::Ended
    }
}

/// Why a way is of no use any more.
enum Lost {
    Way,
    Rules(ResumeError),
}

/// Gives the way all it takes. A record is written from where it is kept.
fn push(stream: &mut resume::Resumable, way: &mut Way, cx: &mut Context<'_>) -> Result<(), Lost> {
    loop {
        match way.poll_flush(cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Err(_)) => return Err(Lost::Way),
            Poll::Ready(Ok(())) if stream.confirmation(&mut way.out) => continue,
            Poll::Ready(Ok(())) => {}
        }
        let Some(record) = stream.next_output() else { return Ok(()) };
        let record = &record[..record.len().min(way.share.get())];
        match Pin::new(&mut way.stream).poll_write(cx, record) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(0) | Err(_)) => return Err(Lost::Way),
            Poll::Ready(Ok(count)) => stream.gave(count),
        }
    }
}

/// Reads all there is, into `wanted` as far as that goes: the other side's window
/// bounds it. How many bytes of `wanted` that is.
fn pull(
    stream: &mut resume::Resumable,
    way: &mut Way,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
    wanted: &mut [u8],
) -> Result<usize, (usize, Lost)> {
    let mut filled = 0;
    loop {
        match Pin::new(&mut way.stream).poll_read(cx, buffer) {
            Poll::Pending => return Ok(filled),
            Poll::Ready(Ok(0) | Err(_)) => return Err((filled, Lost::Way)),
            Poll::Ready(Ok(count)) => {
                match stream.input_to(&buffer[..count], &mut wanted[filled..]) {
                    Ok(more) => filled += more,
                    Err(e) => return Err((filled, Lost::Rules(e))),
                }
            }
        }
    }
}

impl Resumable {
    /// Ready at the stream's end: its client is gone, or has been away for
    /// longer than the patience.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_turn(cx, &mut []).1
    }

    /// The same, and how many bytes came into `wanted`.
    fn poll_turn(&mut self, cx: &mut Context<'_>, wanted: &mut [u8]) -> (usize, Poll<()>) {
        let mut state = self.kept.state.borrow_mut();
        let (filled, found) = state.turn(cx, &mut self.buffer.borrow_mut(), wanted);
        drop(state);
        (filled, self.poll_found(cx, found))
    }

    fn poll_found(&mut self, cx: &mut Context<'_>, found: Found) -> Poll<()> {
        match found {
            Found::Open => {
                self.timer = None;
                Poll::Pending
            }
            Found::Ended => Poll::Ready(()),
            Found::Away => {
                self.kept.waker.set(Some(cx.waker().clone()));
                let patience = self.patience;
                let timer =
                    self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                ready!(timer.as_mut().poll(cx));
                self.kept.state.borrow_mut().ended = true;
                Poll::Ready(())
            }
        }
    }
}

impl AsyncRead for Resumable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = self.kept.state.borrow_mut().stream.read(buf);
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        let (count, ended) = self.poll_turn(cx, buf);
        if count == 0 { ended.map(|()| Ok(0)) } else { Poll::Ready(Ok(count)) }
    }
}

impl AsyncWrite for Resumable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut count = self.kept.state.borrow_mut().stream.write(buf);
        if self.poll_ended(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if count == 0 {
            // A confirmation may just have come.
            count = self.kept.state.borrow_mut().stream.write(buf);
        }
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Waits until the client has what it wants: it closes, not we.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ended(cx).map(Ok)
    }
}

#[cfg(test)]
#[path = "resumable_tests.rs"]
mod tests;
