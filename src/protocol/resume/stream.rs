//! One end of a resumable stream, as a value: bytes in, bytes out, no clock.

use std::collections::VecDeque;
use std::io::Read;

use super::WINDOW;
use crate::protocol::frame;

/// Bytes of a record before its payload.
pub const HEADER: usize = 13;

/// The most that a record carries: one whole frame of data.
const MAX_RECORD: usize = frame::HEADER + frame::MAX_DATA;

/// What was read is confirmed in steps of this size, half of the window: short
/// commands confirm nothing, and each step is a packet.
const CONFIRM: u64 = WINDOW as u64 / 2;

/// Up to this length a record is joined to the one before once it was given.
const SMALL: usize = 4096;

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
    /// Records from the one that has the offset `confirmed` on, as they go out.
    held: VecDeque<Record>,
    /// Ever written.
    written: u64,
    confirmed: u64,
    /// How many of them were given to the present way whole, and how many bytes
    /// of the next.
    given: usize,
    given_of_next: usize,
    /// The other side may have received up to here.
    reached: u64,
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

/// Bytes behind their header.
#[derive(Debug)]
struct Record {
    /// The offset of the first byte.
    begin: u64,
    wire: Vec<u8>,
}

impl Record {
    fn new(begin: u64, bytes: &[u8]) -> Self {
        let mut wire = Vec::with_capacity(HEADER + bytes.len());
        wire.extend(header(DATA, begin, bytes.len()));
        wire.extend_from_slice(bytes);
        Self { begin, wire }
    }

    const fn length(&self) -> usize {
        self.wire.len() - HEADER
    }

    const fn end(&self) -> u64 {
        self.begin + self.length() as u64
    }

    /// Takes more, up to the most; how many.
    fn append(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(MAX_RECORD - self.length());
        self.wire.extend_from_slice(&bytes[..count]);
        let header = header(DATA, self.begin, self.length());
        self.wire[..HEADER].copy_from_slice(&header);
        count
    }
}

impl Resumable {
    /// Takes bytes to send; how many. 0: the window is full, wait for input.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let room = WINDOW.saturating_sub(self.unconfirmed());
        let bytes = &bytes[..bytes.len().min(room)];
        let mut rest = bytes;
        // What waits for its way becomes one record, not many.
        if self.given < self.held.len()
            && (self.given + 1 < self.held.len() || self.given_of_next == 0)
            && let Some(last) = self.held.back_mut()
        {
            rest = &rest[last.append(rest)..];
        }
        for part in rest.chunks(MAX_RECORD) {
            let begin = self.written + (bytes.len() - rest.len()) as u64;
            self.held.push_back(Record::new(begin, part));
            rest = &rest[part.len()..];
        }
        self.written += bytes.len() as u64;
        bytes.len()
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
        let confirms = self.confirmation(out);
        let Some(record) = self.next_output() else { return confirms };
        out.extend_from_slice(record);
        let count = record.len();
        self.gave(count);
        true
    }

    /// Appends a confirmation, if it is time for one and no record is half given;
    /// whether it was.
    pub fn confirmation(&mut self, out: &mut Vec<u8>) -> bool {
        if self.given_of_next > 0 || !self.has_to_confirm() {
            return false;
        }
        self.told = self.read_so_far();
        self.tells_again = false;
        out.extend(header(CONFIRMED, self.told, 0));
        true
    }

    /// The rest of the record that goes out next, to be followed by [`Self::gave`].
    pub fn next_output(&self) -> Option<&[u8]> {
        Some(&self.held.get(self.given)?.wire[self.given_of_next..])
    }

    /// So many bytes of [`Self::next_output`] were given to the way.
    pub fn gave(&mut self, count: usize) {
        let Some(record) = self.held.get(self.given) else { return };
        self.reached = self.reached.max(record.end());
        self.given_of_next += count;
        if self.given_of_next >= record.wire.len() {
            (self.given, self.given_of_next) = (self.given + 1, 0);
            self.join_small();
        }
    }

    /// A stream of short words would be kept as thousands of records: those that
    /// were given become one.
    fn join_small(&mut self) {
        let Some(before) = self.given.checked_sub(2) else { return };
        let (first, last) = (&self.held[before], &self.held[before + 1]);
        if last.length() > SMALL || first.length() + last.length() > MAX_RECORD {
            return;
        }
        if let Some(last) = self.held.remove(before + 1) {
            self.held[before].append(&last.wire[HEADER..]);
            self.given -= 1;
        }
    }

    /// Whether [`Self::output`] would give something.
    pub fn has_output(&self) -> bool {
        self.given < self.held.len() || self.has_to_confirm()
    }

    /// Takes bytes that came, cut anyhow.
    pub fn input(&mut self, bytes: &[u8]) -> Result<(), ResumeError> {
        self.input_to(bytes, &mut []).map(drop)
    }

    /// The same, but what is to be read next is given at once, without being
    /// kept; how many bytes of `buffer` that is.
    pub fn input_to(&mut self, mut bytes: &[u8], buffer: &mut [u8]) -> Result<usize, ResumeError> {
        let mut filled = 0;
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
                let (rest, count) = self.take_payload(bytes, &mut buffer[filled..]);
                (bytes, filled) = (rest, filled + count);
            }
            if self.header_held == HEADER && self.known + self.new == 0 {
                self.header_held = 0;
            }
        }
        Ok(filled)
    }

    /// A new way begins where the other side has received `offset` bytes.
    /// What the old one had not brought here whole will come again.
    pub fn resumed(&mut self, offset: u64) -> Result<(), ResumeError> {
        if offset < self.confirmed || offset > self.written {
            return Err(ResumeError::NeverSent(offset));
        }
        (self.header_held, self.known, self.new) = (0, 0, 0);
        // A record that is there in part comes again whole.
        self.given = self.held.iter().take_while(|record| record.end() <= offset).count();
        self.given_of_next = 0;
        self.reached = self.reached.max(offset);
        self.tells_again = self.told > 0;
        Ok(())
    }

    fn unconfirmed(&self) -> usize {
        usize::try_from(self.written - self.confirmed).unwrap_or(usize::MAX)
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
        if offset > self.reached {
            return Err(ResumeError::NeverSent(offset));
        }
        // An older word than the last one is no news.
        self.confirmed = self.confirmed.max(offset);
        // What is confirmed was given whole; one that comes again is not needed.
        while self.given > 0 && self.held.front().is_some_and(|record| record.end() <= offset) {
            self.held.pop_front();
            self.given -= 1;
        }
        Ok(())
    }

    /// The rest of `bytes`, and how many went into `buffer`.
    fn take_payload<'a>(&mut self, bytes: &'a [u8], buffer: &mut [u8]) -> (&'a [u8], usize) {
        let skipped = self.known.min(bytes.len());
        self.known -= skipped;
        let bytes = &bytes[skipped..];
        let (taken, rest) = bytes.split_at(self.new.min(bytes.len()));
        let at_once = if self.arrived.is_empty() { taken.len().min(buffer.len()) } else { 0 };
        buffer[..at_once].copy_from_slice(&taken[..at_once]);
        self.arrived.extend(&taken[at_once..]);
        self.received += taken.len() as u64;
        self.new -= taken.len();
        (rest, at_once)
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
