//! Bytes between consoles that speak UTF-16 and guests that speak UTF-8.
#![cfg_attr(not(windows), allow(dead_code))] // its tests run everywhere

use std::io::{self, Write};

/// What was typed, as UTF-8. Characters may come in halves.
#[derive(Debug, Default)]
pub(super) struct Typed {
    /// The first half of a character whose second is yet to come.
    half: Option<u16>,
}

impl Typed {
    /// Appends what the units mean to `bytes`; halves that stand alone are
    /// U+FFFD.
    pub fn append(&mut self, units: &[u16], bytes: &mut Vec<u8>) {
        const FIRST_HALF: std::ops::Range<u16> = 0xD800..0xDC00;
        let mut units: Vec<u16> =
            self.half.take().into_iter().chain(units.iter().copied()).collect();
        self.half = units.pop_if(|last| FIRST_HALF.contains(last));
        for found in char::decode_utf16(units) {
            let found = found.unwrap_or(char::REPLACEMENT_CHARACTER);
            bytes.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Hands on UTF-8 alone, whole characters at a time: consoles refuse all else.
/// What is none becomes U+FFFD.
#[derive(Debug)]
pub(super) struct Printed<W> {
    to: W,
    /// The start of a character whose end is yet to come.
    begun: Vec<u8>,
}

impl<W> Printed<W> {
    pub const fn new(to: W) -> Self {
        Self { to, begun: Vec::new() }
    }
}

impl<W: Write> Write for Printed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let all = [&std::mem::take(&mut self.begun), bytes].concat();
        let mut text = String::with_capacity(all.len());
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            if chunks.peek().is_none() && may_go_on(chunk.invalid()) {
                self.begun = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.to.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether a character may begin like this.
fn may_go_on(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_come_in_halves_are_put_together() {
        let mut typed = Typed::default();
        let mut bytes = Vec::new();
        // U+1F600, then a first half alone, Ctrl-Z and an arrow key.
        let units: Vec<u16> = "é😀".encode_utf16().chain([0xD83D, 0x1A]).collect();
        for unit in units {
            typed.append(&[unit], &mut bytes);
        }
        typed.append(&"\x1b[A".encode_utf16().collect::<Vec<_>>(), &mut bytes);
        assert_eq!(String::from_utf8(bytes).unwrap(), "é😀\u{FFFD}\x1a\x1b[A");
    }

    #[test]
    fn what_is_printed_is_utf_8_wherever_it_is_cut() {
        let bytes = b"a\xffb\xc3(\xf0\x9f\x98\x80\xe2\x82";
        for cut in 0..bytes.len() {
            let mut printed = Printed::new(Vec::new());
            assert_eq!(printed.write(&bytes[..cut]).unwrap(), cut);
            printed.write_all(&bytes[cut..]).unwrap();
            let text = String::from_utf8(printed.to.clone()).unwrap();
            assert_eq!(text, "a\u{FFFD}b\u{FFFD}(😀", "cut at {cut}");
            printed.write_all(b"\xac.").unwrap();
            let text = String::from_utf8(printed.to).unwrap();
            assert!(text.ends_with("😀€."), "{text}");
        }
    }
}
