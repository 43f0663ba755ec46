//! From the program to the host: its outputs, credit for its stdin, its end.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::channel::Channel;
use super::launch::Child;
use super::output::{Frames, Source};
use super::relay::Shared;
use super::sys;
use crate::protocol::message::FromAgent;
use crate::protocol::outcome::Outcome;

/// This direction of a relay.
pub struct Outbound<'a> {
    shared: &'a Shared,
    child: &'a Child,
    stdout: Source,
    stderr: Source,
    /// How long left-behind processes may be silent.
    quiet: Duration,
    frames: Frames,
    /// How many bytes of them can wait for more.
    held: usize,
}

impl<'a> Outbound<'a> {
    pub fn new(
        shared: &'a Shared,
        child: &'a Child,
        [stdout, stderr]: [Source; 2],
        quiet: Duration,
    ) -> Self {
        let mut frames = Frames::default();
        frames.push(&FromAgent::Started { pid: child.pid });
        let held = frames.as_bytes().len();
        Self { shared, child, stdout, stderr, quiet, frames, held }
    }

    /// The frames that remain to be sent once the program has ended, the
    /// outcome last. An error: the host has gone.
    pub async fn run(&mut self, channel: &Channel) -> io::Result<Vec<u8>> {
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
