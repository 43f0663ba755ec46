//! The life of a running program: its streams to and from the host, its
//! signals, its end.
//!
//! The outcome is sent when the program has ended and its outputs are read
//! to their end. Processes it left behind may hold these open: then the
//! outcome waits only until they have been quiet for a moment.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::sync::Notify;

use super::channel::Channel;
use super::inbound::Inbound;
use super::input::Input;
use super::launch::{Child, Streams};
use super::outbound::Outbound;
use super::output::Source;
use super::sys;
use crate::protocol::frame::{Decoder, FrameError, Kind};

/// How long left-behind processes may be silent in pipes before the outcome
/// is sent without their end.
const QUIET_PIPES: Duration = Duration::from_millis(200);

/// The same for a terminal, which every left-behind process holds.
const QUIET_TERMINAL: Duration = Duration::from_millis(50);

/// What the two directions tell each other.
#[derive(Default)]
pub struct Shared {
    /// To be granted for stdin.
    pub credit: Cell<u32>,
    pub close_stdout: Cell<bool>,
    pub close_stderr: Cell<bool>,
    /// One of the above was set.
    pub changed: Notify,
}

/// Why the host's side ended before the program.
pub enum Gone {
    Closed,
    Broken(FrameError),
}

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// Whether the program has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Ended,
    /// The host has gone before.
    Running,
}

/// Relays until the program has ended or the host has gone.
pub async fn run(channel: &Channel, mut decoder: Decoder, child: &mut Child) -> Left {
    let streams = child.streams.take();
    match until_end(channel, &mut decoder, streams, child).await {
        Ok(last) => {
            // A host that has gone by now misses nothing that still runs.
            let _ = channel.write(&last).await;
            Left::Ended
        }
        Err(gone) => {
            if let Gone::Broken(error) = gone {
                eprintln!("nsvm-agent: hanging up on process {}: {error}", child.pid);
            }
            Left::Running
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
    let Child { pid, passes_signals_on, .. } = *child;
    let inbound = Inbound { shared, input, terminal, pid, passes_signals_on };
    Ok((inbound, Outbound::new(shared, child, [stdout, stderr], quiet)))
}
