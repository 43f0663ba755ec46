//! From the host to the program: stdin, sizes, signals.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::io::unix::AsyncFd;

use super::channel::Channel;
use super::input::Input;
use super::relay::{Gone, Shared};
use super::{pty, sys};
use crate::protocol::frame::{Decoder, Frame, FrameError, Kind};
use crate::protocol::message::{FromHost, Output};
use crate::protocol::signal;

/// This direction of a relay.
pub struct Inbound<'a> {
    pub shared: &'a Shared,
    pub input: Input,
    pub terminal: Option<Rc<AsyncFd<OwnedFd>>>,
    /// The leader of the program's process group.
    pub pid: u32,
    /// Whether that process passes SIGTERM and SIGINT on by itself.
    pub passes_signals_on: bool,
}

impl Inbound<'_> {
    /// Never ends while the host stays.
    pub async fn run(&mut self, channel: &Channel, decoder: &mut Decoder) -> Gone {
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
        if self.passes_signals_on && [signal::INT, signal::TERM].contains(&number) {
            return sys::signal_process(self.pid, number);
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
