//! Moves bytes between the SSH channel and the queues, on the link's thread.
//!
//! libssh2 in non-blocking mode may keep half a packet: whatever call left it
//! there must be repeated with the same bytes before any other call may send,
//! and a read sends too (window adjustments). `Stuck` remembers that call.

use std::io::{self, Read, Write};
use std::sync::atomic::Ordering;

use polling::{Event, Events};
use ssh2::{BlockDirections, Channel, ExtendedData};
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};

use super::install::Attached;
use super::io::{CHUNK, ThreadEnds};
use super::session::Connected;

/// The socket's key in the poller; there is only one.
const SOCKET: usize = 1;

/// Which call must be repeated before another may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stuck {
    No,
    Reading,
    Writing,
}

/// Whether the link goes on.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    /// Something moved: look again at once.
    Moved,
    Idle,
    Ended,
}

struct Pump {
    connected: Connected,
    channel: Channel,
    ends: ThreadEnds,
    stuck: Stuck,
    inbox: Vec<u8>,
    /// Read, but not yet taken by tokio.
    held: Option<Vec<u8>>,
    /// Being written; never moves while a write of it is stuck.
    out: Vec<u8>,
    written: usize,
}

/// Pumps until the channel, the connection or the tokio side ends.
pub(super) fn run(attached: Attached, ends: ThreadEnds) {
    let Attached { connected, mut channel, rest, .. } = attached;
    // sudo's words after the greeting would fill the window unread.
    let _ = channel.handle_extended_data(ExtendedData::Ignore);
    connected.session.set_blocking(false);
    let held = (!rest.is_empty()).then_some(rest);
    let mut pump = Pump {
        connected,
        channel,
        ends,
        stuck: Stuck::No,
        inbox: vec![0; CHUNK],
        held,
        out: Vec::with_capacity(CHUNK),
        written: 0,
    };
    if let Err(e) = pump.pump() {
        tracing::info!("the link's connection failed: {e}");
    }
    pump.hang_up();
}

impl Pump {
    fn pump(&mut self) -> io::Result<()> {
        let poller = self.ends.bell.poller.clone();
        // SAFETY: the socket is taken out of the poller below, before it is dropped.
        #[allow(unsafe_code)]
        unsafe {
            poller.add(&self.connected.socket, Event::none(SOCKET))?;
        }
        let result = self.turns(&poller);
        poller.delete(&self.connected.socket)?;
        result
    }

    fn turns(&mut self, poller: &polling::Poller) -> io::Result<()> {
        let mut events = Events::new();
        loop {
            match self.turn()? {
                Flow::Moved => continue,
                Flow::Ended => return Ok(()),
                Flow::Idle => {}
            }
            poller.modify(&self.connected.socket, self.interest())?;
            events.clear();
            poller.wait(&mut events, None)?;
        }
    }

    fn turn(&mut self) -> io::Result<Flow> {
        let mut flow = Flow::Idle;
        if self.stuck != Stuck::Reading {
            match self.write()? {
                Flow::Idle => {}
                other => flow = other,
            }
        }
        if flow != Flow::Ended && self.stuck != Stuck::Writing {
            match self.read()? {
                Flow::Idle => {}
                other => flow = other,
            }
        }
        Ok(flow)
    }

    fn write(&mut self) -> io::Result<Flow> {
        if self.written == self.out.len() && self.gather() == Flow::Ended {
            return Ok(Flow::Ended);
        }
        if self.out.is_empty() {
            return Ok(Flow::Idle);
        }
        match self.channel.write(&self.out[self.written..]) {
            Ok(n) => {
                self.stuck = Stuck::No;
                self.written += n;
                Ok(if n == 0 { Flow::Idle } else { Flow::Moved })
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.stuck = if self.sends() { Stuck::Writing } else { Stuck::No };
                Ok(Flow::Idle)
            }
            Err(e) => Err(e),
        }
    }

    /// Joins queued chunks into one buffer, so that many small frames make
    /// one SSH packet.
    fn gather(&mut self) -> Flow {
        self.out.clear();
        self.written = 0;
        while self.out.len() < CHUNK {
            match self.ends.from_tokio.try_recv() {
                Ok(chunk) if self.out.is_empty() => self.out = chunk,
                Ok(chunk) => self.out.extend_from_slice(&chunk),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) if self.out.is_empty() => return Flow::Ended,
                Err(TryRecvError::Disconnected) => break,
            }
        }
        Flow::Moved
    }

    fn read(&mut self) -> io::Result<Flow> {
        if !self.deliver()? {
            return Ok(Flow::Idle);
        }
        match self.channel.read(&mut self.inbox) {
            Ok(0) => {
                self.stuck = Stuck::No;
                Ok(if self.channel.eof() { Flow::Ended } else { Flow::Idle })
            }
            Ok(n) => {
                self.stuck = Stuck::No;
                self.held = Some(self.inbox[..n].to_vec());
                self.deliver()?;
                Ok(Flow::Moved)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.stuck = if self.sends() { Stuck::Reading } else { Stuck::No };
                Ok(Flow::Idle)
            }
            Err(e) => Err(e),
        }
    }

    /// Hands over what was read; `false` when there is no room.
    fn deliver(&mut self) -> io::Result<bool> {
        // Twice: the reader may have made room just before it could see that
        // we are hungry.
        for _ in 0..2 {
            let Some(chunk) = self.held.take() else { return Ok(true) };
            match self.ends.to_tokio.try_send(chunk) {
                Ok(()) => return Ok(true),
                Err(TrySendError::Full(chunk)) => {
                    self.held = Some(chunk);
                    self.ends.bell.hungry.store(true, Ordering::Release);
                }
                Err(TrySendError::Closed(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        Ok(false)
    }

    /// Whether libssh2 waits for the socket to take bytes.
    fn sends(&self) -> bool {
        let directions = self.connected.session.block_directions();
        matches!(directions, BlockDirections::Outbound | BlockDirections::Both)
    }

    fn interest(&self) -> Event {
        let blocked_write = self.written < self.out.len();
        let readable = self.held.is_none() || blocked_write;
        Event::new(SOCKET, readable, self.stuck != Stuck::No)
    }

    /// Ends the channel in an orderly way, but never waits long for it.
    fn hang_up(&mut self) {
        const PATIENCE_MS: u32 = 500;
        self.connected.session.set_blocking(true);
        self.connected.session.set_timeout(PATIENCE_MS);
        let _ = self.channel.close();
        let _ = self.connected.session.disconnect(None, "bye", None);
    }
}
