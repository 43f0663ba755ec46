//! One end of a resumable stream, as a value: bytes in, bytes out, no clock.

use std::collections::VecDeque;
use std::io::Read;

use super::WINDOW;
use crate::protocol::frame;

/// Bytes of a record before its payload.
pub const HEADER: usize = 13;

/// The most that a record carries: one whole frame of data.
const MAX_RECORD: usize = frame::HEADER + frame::MAX_DATA;

/// What was read is confirmed in steps of this size, a quarter of the window:
/// short commands confirm nothing.
const CONFIRM: u64 = WINDOW as u64 / 4;

const DATA: u8 = 1;
const CONFIRMED: u8 = 2;

/// Why bytes are no records, or these do not fit. The stream ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    #[error("record of unknown tag {0}")]
    UnknownTag(u8),
    #[error("record of {0} bytes, at most {MAX_RECORD} are allowed")]
    TooLong(u32),
    #[error("bytes {expected} to {found} are missing")]
    Gap { expected: u64, found: u64 },
    #[error("more than {WINDOW} unconfirmed bytes")]
    Overrun,
    #[error("byte {0} is confirmed, which is not one of those sent")]
    NeverSent(u64),
}

/// One end. `write` and `read` are the owner's side, `input` and `output` that
/// of the way, which may be replaced at any time (`resumed`).
#[derive(Debug, Default)]
pub struct Resumable {
    /// Written, from the offset `confirmed` on.
    held: VecDeque<u8>,
    confirmed: u64,
    /// Given to the present way up to here.
    sent: u64,
    /// Received and not yet read; ends at the offset `received`.
    arrived: VecDeque<u8>,
    received: u64,
    /// What the other side was told is read.
    told: u64,
    /// The way that told it was lost, maybe before the other side heard.
    tells_again: bool,
    /// The record that is coming in.
    header: [u8; HEADER],
    header_held: usize,
    /// Of its payload: bytes that are known already, then new ones.
    known: usize,
    new: usize,
}

impl Resumable {
    /// Takes bytes to send; how many. 0: the window is full, wait for input.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(WINDOW - self.held.len());
        self.held.extend(&bytes[..count]);
        count
    }

    /// Gives bytes that have arrived; how many.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        // Reading from memory does not fail.
        self.arrived.read(buffer).unwrap_or(0)
    }

    /// Whether there is something to read.
    pub fn is_readable(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// How many bytes have ever arrived: what a resuming opening or its answer
    /// says.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Appends what shall go out now, a confirmation and at most one record of
    /// bytes; whether that was anything.
    pub fn output(&mut self, out: &mut Vec<u8>) -> bool {
        let confirms = self.has_to_confirm();
        if confirms {
            self.told = self.read_so_far();
            self.tells_again = false;
            out.extend(header(CONFIRMED, self.told, 0));
        }
        let begin = usize::try_from(self.sent - self.confirmed).unwrap_or(usize::MAX);
        let count = (self.held.len() - begin).min(MAX_RECORD);
        if count == 0 {
            return confirms;
        }
        out.extend(header(DATA, self.sent, count));
        let (front, back) = self.held.as_slices();
        let of_front = begin.min(front.len())..(begin + count).min(front.len());
        let of_back = (begin + of_front.len()).saturating_sub(front.len());
        let rest = count - of_front.len();
        out.extend_from_slice(&front[of_front]);
        out.extend_from_slice(&back[of_back..of_back + rest]);
        self.sent += count as u64;
        true
    }

    /// Whether [`Self::output`] would give something.
    pub fn has_output(&self) -> bool {
        self.sent - self.confirmed < self.held.len() as u64 || self.has_to_confirm()
    }

    /// Takes bytes that came, cut anyhow.
    pub fn input(&mut self, mut bytes: &[u8]) -> Result<(), ResumeError> {
        while !bytes.is_empty() {
            if self.header_held < HEADER {
                let count = (HEADER - self.header_held).min(bytes.len());
                self.header[self.header_held..][..count].copy_from_slice(&bytes[..count]);
                self.header_held += count;
                bytes = &bytes[count..];
                if self.header_held == HEADER {
                    self.begin_record()?;
                }
            } else {
                bytes = self.take_payload(bytes);
            }
            if self.header_held == HEADER && self.known + self.new == 0 {
                self.header_held = 0;
            }
        }
        Ok(())
    }

    /// A new way begins where the other side has received `offset` bytes.
    /// What the old one had not brought here whole will come again.
    pub fn resumed(&mut self, offset: u64) -> Result<(), ResumeError> {
        if offset < self.confirmed || offset > self.confirmed + self.held.len() as u64 {
            return Err(ResumeError::NeverSent(offset));
        }
        (self.header_held, self.known, self.new) = (0, 0, 0);
        self.sent = offset;
        self.tells_again = self.told > 0;
        Ok(())
    }

    fn has_to_confirm(&self) -> bool {
        self.tells_again || self.read_so_far() - self.told >= CONFIRM
    }

    fn read_so_far(&self) -> u64 {
        self.received - self.arrived.len() as u64
    }

    fn begin_record(&mut self) -> Result<(), ResumeError> {
        let (tag, offset, length) = parts(&self.header);
        match tag {
            DATA => self.expect(offset, length),
            CONFIRMED => self.confirm(offset),
            other => Err(ResumeError::UnknownTag(other)),
        }
    }

    fn expect(&mut self, offset: u64, length: u32) -> Result<(), ResumeError> {
        let bytes = length as usize;
        if bytes > MAX_RECORD {
            return Err(ResumeError::TooLong(length));
        }
        let Some(known) = self.received.checked_sub(offset) else {
            return Err(ResumeError::Gap { expected: self.received, found: offset });
        };
        self.known = usize::try_from(known).unwrap_or(usize::MAX).min(bytes);
        self.new = bytes - self.known;
        if self.received - self.told + self.new as u64 > WINDOW as u64 {
            return Err(ResumeError::Overrun);
        }
        Ok(())
    }

    /// What may be forgotten: bytes that were sent before and are read now.
    fn confirm(&mut self, offset: u64) -> Result<(), ResumeError> {
        if offset > self.sent {
            return Err(ResumeError::NeverSent(offset));
        }
        // An older word than the last one is no news.
        let news = offset.saturating_sub(self.confirmed);
        self.held.drain(..usize::try_from(news).unwrap_or(usize::MAX));
        self.confirmed += news;
        Ok(())
    }

    /// The rest of `bytes`.
    fn take_payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let skipped = self.known.min(bytes.len());
        self.known -= skipped;
        let bytes = &bytes[skipped..];
        let (taken, rest) = bytes.split_at(self.new.min(bytes.len()));
        self.arrived.extend(taken);
        self.received += taken.len() as u64;
        self.new -= taken.len();
        rest
    }
}

pub(super) fn header(tag: u8, offset: u64, length: usize) -> [u8; HEADER] {
    let mut bytes = [tag; HEADER];
    bytes[1..9].copy_from_slice(&offset.to_be_bytes());
    let length = u32::try_from(length).expect("bounded by MAX_RECORD");
    bytes[9..].copy_from_slice(&length.to_be_bytes());
    bytes
}

pub(super) fn parts(header: &[u8; HEADER]) -> (u8, u64, u32) {
    let (mut offset, mut length) = ([0; 8], [0; 4]);
    offset.copy_from_slice(&header[1..9]);
    length.copy_from_slice(&header[9..]);
    (header[0], u64::from_be_bytes(offset), u32::from_be_bytes(length))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
