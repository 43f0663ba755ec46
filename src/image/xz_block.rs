//! What the first block header of an xz stream says about memory.
//!
//! Facts: The .xz File Format 1.1.0, sections 2.1.1 (stream header), 3.1
//! (block header), 1.2 (multibyte integers), 5.3.1 (LZMA2).

/// The longest stream header and block header together, in bytes.
pub const HEADERS_MAX: usize = STREAM_HEADER + 1024;

const STREAM_HEADER: usize = 12;
const BOTH_SIZES: u8 = 0b1100_0000;
const LZMA2: u64 = 0x21;

/// Bytes that a thread holds which decodes the first block at once: the block
/// before and after, and the dictionary. `None` where the header tells no
/// sizes (`xz -T1` made it), which rules threads out.
pub fn memory(start: &[u8]) -> Option<u64> {
    let header = start.get(STREAM_HEADER..)?;
    let length = match *header.first()? {
        // The index: there is no block.
        0 => return None,
        coded => 4 * (usize::from(coded) + 1),
    };
    let flags = *header.get(1)?;
    let mut rest = Fields(header.get(2..length)?);
    if flags & BOTH_SIZES != BOTH_SIZES {
        return None;
    }
    let (packed, unpacked) = (rest.number()?, rest.number()?);
    let mut dictionary = 0;
    for _ in 0..=(flags & 0b11) {
        let (filter, size) = (rest.number()?, rest.number()?);
        let properties = rest.bytes(usize::try_from(size).ok()?)?;
        if filter == LZMA2 {
            dictionary = dictionary_size(*properties.first()?)?;
        }
    }
    packed.checked_add(unpacked)?.checked_add(dictionary)
}

fn dictionary_size(coded: u8) -> Option<u64> {
    match coded {
        40 => Some(u64::from(u32::MAX)),
        0..40 => Some((2 | u64::from(coded & 1)) << (coded / 2 + 11)),
        _ => None,
    }
}

/// The rest of a header.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    /// Seven bits a byte, the lowest first, at most nine bytes.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = *self.bytes(1)?.first()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use liblzma::stream::{MtStreamBuilder, Stream};
    use liblzma::write::XzEncoder;

    use super::*;

    fn encoded(stream: Stream) -> Vec<u8> {
        let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(&vec![7; 3 << 20]).unwrap();
        encoder.finish().unwrap()
    }

    fn in_blocks() -> Vec<u8> {
        encoded(MtStreamBuilder::new().threads(2).preset(6).block_size(1 << 20).encoder().unwrap())
    }

    #[test]
    fn blocks_made_by_threads_tell_their_size() {
        let found = memory(&in_blocks()).unwrap();
        let known = (1 << 20) + (8 << 20);
        assert!((known..known + 4096).contains(&found), "{found}");
    }

    #[test]
    fn others_do_not() {
        use liblzma::stream::Check;
        let single = encoded(Stream::new_easy_encoder(6, Check::Crc64).unwrap());
        assert_eq!(memory(&single), None);
        let empty = XzEncoder::new(Vec::new(), 6).finish().unwrap();
        assert_eq!(memory(&empty), None);
    }

    #[test]
    fn a_cut_header_is_no_reason_to_panic() {
        let whole = in_blocks();
        for end in 0..40 {
            let found = memory(&whole[..end]);
            assert!(found.is_none() || found == memory(&whole), "{end}");
        }
        assert_eq!(memory(&[0xff; HEADERS_MAX]), None);
    }

    #[test]
    fn dictionaries_are_powers_of_two_or_half_more() {
        assert_eq!(dictionary_size(0), Some(4096));
        assert_eq!(dictionary_size(1), Some(6144));
        assert_eq!(dictionary_size(28), Some(64 << 20));
        assert_eq!(dictionary_size(40), Some(u64::from(u32::MAX)));
        assert_eq!(dictionary_size(41), None);
    }
}
