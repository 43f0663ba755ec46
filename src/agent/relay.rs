//! The life of a running program: its streams to and from the host, its
//! signals, its end.
//!
//! The outcome is sent when the program has ended and its outputs are read
//! to their end. Processes it left behind may hold these open: then the
//! outcome waits only until they have been quiet for a moment.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::channel::Channel;
use super::input::Input;
use super::launch::{Child, Streams};
use super::output::{Frames, Source};
use super::{pty, sys};
use crate::protocol::frame::{Decoder, Frame, FrameError, Kind};
use crate::protocol::message::{FromAgent, FromHost, Output};
use crate::protocol::outcome::Outcome;

/// How long left-behind processes may be silent in pipes before the outcome
/// is sent without their end.
const QUIET_PIPES: Duration = Duration::from_millis(200);

/// The same for a terminal, which every left-behind process holds.
const QUIET_TERMINAL: Duration = Duration::from_millis(50);

/// What the two directions tell each other.
#[derive(Default)]
struct Shared {
    credit: Cell<u32>,
    close_stdout: Cell<bool>,
    close_stderr: Cell<bool>,
    changed: Notify,
}

/// Why the host's side ended before the program.
enum Gone {
    Closed,
    Broken(FrameError),
}

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// Relays until the program has ended, or returns it when the host has gone.
pub async fn run(channel: &Channel, mut decoder: Decoder, mut child: Child) -> Option<Child> {
    let streams = child.streams.take();
    match until_end(channel, &mut decoder, streams, &child).await {
        Ok(last) => {
            // A host that has gone by now misses nothing that still runs.
            if channel.write(&last).await.is_ok() {
                let _ = channel.close().await;
            }
            None
        }
        Err(gone) => {
            if let Gone::Broken(error) = gone {
                eprintln!("nsvm-agent: hanging up on process {}: {error}", child.pid);
            }
            Some(child)
        }
    }
}

/// The last frames, or why there is nobody to send them to. The streams are
/// closed on return: a terminal hangs up.
async fn until_end(
    channel: &Channel,
    decoder: &mut Decoder,
    streams: Option<Streams>,
    child: &Child,
) -> Result<Vec<u8>, Gone> {
    let shared = Shared::default();
    let streams = streams.ok_or(Gone::Closed)?;
    let (mut inbound, mut outbound) = halves(&shared, streams, child)?;
    tokio::select! {
        biased;
        last = outbound.run(channel) => Ok(last?),
        gone = inbound.run(channel, decoder) => Err(gone),
    }
}

fn halves<'a>(
    shared: &'a Shared,
    streams: Streams,
    child: &'a Child,
) -> io::Result<(Inbound<'a>, Outbound<'a>)> {
    let readable = |fd| Ok::<_, io::Error>(Rc::new(sys::watch(fd, Interest::READABLE)?));
    let (input, terminal, stdout, stderr, quiet) = match streams {
        Streams::Pipes { stdin, stdout, stderr } => (
            Input::pipe(stdin),
            None,
            Source::new(readable(stdout)?, Kind::Stdout),
            Source::new(readable(stderr)?, Kind::Stderr),
            QUIET_PIPES,
        ),
        Streams::Terminal(master) => {
            let master = Rc::new(sys::watch(master, Interest::READABLE | Interest::WRITABLE)?);
            let input = Input::terminal(Rc::clone(&master));
            let stdout = Source::new(Rc::clone(&master), Kind::Stdout);
            (input, Some(master), stdout, Source::none(), QUIET_TERMINAL)
        }
    };
    let inbound = Inbound { shared, input, terminal, pid: child.pid };
    let mut frames = Frames::default();
    frames.push(&FromAgent::Started { pid: child.pid });
    let held = frames.as_bytes().len();
    Ok((inbound, Outbound { shared, child, stdout, stderr, quiet, frames, held }))
}

/// From the host to the program.
struct Inbound<'a> {
    shared: &'a Shared,
    input: Input,
    terminal: Option<Rc<AsyncFd<OwnedFd>>>,
    pid: u32,
}

impl Inbound<'_> {
    /// Never ends while the host stays.
    async fn run(&mut self, channel: &Channel, decoder: &mut Decoder) -> Gone {
        loop {
            if let Err(error) = self.take_all(decoder) {
                return Gone::Broken(error);
            }
            tokio::select! {
                read = channel.read(decoder.space()) => match read {
                    Ok(count) if count > 0 => decoder.filled(count),
                    _ => return Gone::Closed,
                },
                _ = self.input.writable(), if self.input.is_waiting() => self.input.flush(),
            }
            self.grant();
        }
    }

    fn take_all(&mut self, decoder: &mut Decoder) -> Result<(), FrameError> {
        while let Some(frame) = decoder.next()? {
            self.take(frame)?;
        }
        self.grant();
        Ok(())
    }

    fn take(&mut self, frame: Frame<'_>) -> Result<(), FrameError> {
        match FromHost::decode(frame)? {
            FromHost::Request(_) => return Err(FrameError::OutOfPlace(Kind::Request)),
            FromHost::Stdin(bytes) => self.input.push(bytes)?,
            FromHost::StdinEof => self.input.end(),
            FromHost::Signal(number) => self.signal(number),
            FromHost::Resize(size) => {
                if let Some(master) = &self.terminal {
                    // A terminal that is hanging up has no size.
                    let _ = pty::resize(master.get_ref(), size);
                }
            }
            FromHost::CloseOutput(which) => {
                match which {
                    Output::Stdout => self.shared.close_stdout.set(true),
                    Output::Stderr => self.shared.close_stderr.set(true),
                }
                self.shared.changed.notify_one();
            }
        }
        Ok(())
    }

    /// To the program's process group, in a terminal to that in the
    /// foreground, as if typed there.
    fn signal(&self, number: u8) {
        if !(1..=64).contains(&number) {
            return;
        }
        let foreground = self.terminal.as_ref().and_then(|master| {
            let group = rustix::termios::tcgetpgrp(master.get_ref()).ok()?;
            Some(group.as_raw_nonzero().get().unsigned_abs())
        });
        sys::signal_group(foreground.unwrap_or(self.pid), number);
    }

    fn grant(&mut self) {
        let credit = self.input.take_credit();
        if credit > 0 {
            self.shared.credit.set(self.shared.credit.get() + credit);
            self.shared.changed.notify_one();
        }
    }
}

/// From the program to the host.
struct Outbound<'a> {
    shared: &'a Shared,
    child: &'a Child,
    stdout: Source,
    stderr: Source,
    quiet: Duration,
    frames: Frames,
    /// How many bytes of them can wait for more.
    held: usize,
}

impl Outbound<'_> {
    /// The frames that remain to be sent once the program has ended, the
    /// outcome last. An error: the host has gone.
    async fn run(&mut self, channel: &Channel) -> io::Result<Vec<u8>> {
        let exited = sys::watch_borrowed(self.child.pidfd.as_fd())?;
        let mut outcome = None;
        let mut quiet_until = Instant::now();
        while outcome.is_none() || self.stdout.is_open() || self.stderr.is_open() {
            tokio::select! {
                biased;
                () = self.shared.changed.notified() => self.obey(),
                _ = self.stdout.readable() => {
                    self.stdout.read_into(&mut self.frames);
                }
                _ = self.stderr.readable() => {
                    self.stderr.read_into(&mut self.frames);
                }
                guard = exited.readable(), if outcome.is_none() => {
                    outcome = self.child.outcome()?;
                    guard?.clear_ready();
                    quiet_until = Instant::now() + self.quiet;
                    continue;
                }
                () = sleep_until(quiet_until), if outcome.is_some() => break,
            }
            // The first message alone is not worth a packet.
            if self.frames.as_bytes().len() > self.held {
                channel.write(self.frames.as_bytes()).await?;
                self.frames.clear();
                self.held = 0;
                quiet_until = Instant::now() + self.quiet;
            }
        }
        Ok(self.last(outcome.unwrap_or(Outcome::Exited(0))))
    }

    fn obey(&mut self) {
        if self.shared.close_stdout.take() {
            self.stdout.close();
        }
        if self.shared.close_stderr.take() {
            self.stderr.close();
        }
        let credit = self.shared.credit.take();
        if credit > 0 {
            self.frames.push(&FromAgent::StdinCredit(credit));
        }
    }

    fn last(&mut self, outcome: Outcome) -> Vec<u8> {
        self.frames.push(&FromAgent::Outcome(outcome));
        self.frames.as_bytes().to_vec()
    }
}
