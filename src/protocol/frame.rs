//! Frames: what cuts a stream of bytes into messages.
//!
//! ```text
//! kind: u8 | length: u32 big endian | payload
//! ```
//!
//! Both sides treat the other's bytes as untrusted: a kind has a largest
//! payload, and a claimed length reserves no memory before bytes arrive.

/// Bytes before the payload.
pub const HEADER: usize = 5;

/// The most that one frame of stdin, stdout or stderr carries.
pub const MAX_DATA: usize = 64 * 1024;

/// The most that a request takes: Linux allows about 2 MiB of arguments and
/// environment (a quarter of the default stack limit), encoded with room.
pub const MAX_REQUEST: usize = 4 * 1024 * 1024;

/// The most that an answer such as an outcome takes.
const MAX_ANSWER: usize = 64 * 1024;

/// The most that a plan takes: it repeats paths of its request, each byte as
/// a number of up to two.
const MAX_PLAN: usize = 3 * MAX_REQUEST;

/// The most that a list of named namespaces takes. One of eight kinds takes
/// some 400 bytes and 5 for each process in it.
const MAX_NAMED: usize = 4 * 1024 * 1024;

/// What a frame is for. Numbers below 16 go to the agent, others to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Request = 1,
    Stdin = 2,
    StdinEof = 3,
    Resize = 4,
    Signal = 5,
    CloseOutput = 6,
    Started = 16,
    Stdout = 17,
    Stderr = 18,
    StdinCredit = 19,
    Outcome = 20,
    Info = 21,
    Plan = 22,
    Named = 23,
    Clock = 24,
}

/// Why bytes are no frame, or a frame no message. The stream ends with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame of unknown kind {0}")]
    UnknownKind(u8),
    #[error("{kind:?} frame of {length} bytes, at most {} are allowed", kind.max_payload())]
    TooLong { kind: Kind, length: usize },
    #[error("{kind:?} frame that cannot be read: {reason}")]
    Malformed { kind: Kind, reason: String },
    #[error("{0:?} frame where none belongs")]
    OutOfPlace(Kind),
}

/// One whole frame, borrowed from the bytes it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: Kind,
    pub payload: &'a [u8],
}

impl Kind {
    const ALL: [Self; 15] = [
        Self::Request,
        Self::Stdin,
        Self::StdinEof,
        Self::Resize,
        Self::Signal,
        Self::CloseOutput,
        Self::Started,
        Self::Stdout,
        Self::Stderr,
        Self::StdinCredit,
        Self::Outcome,
        Self::Info,
        Self::Plan,
        Self::Named,
        Self::Clock,
    ];

    /// The largest payload of this kind, in bytes.
    pub const fn max_payload(self) -> usize {
        match self {
            Self::Request => MAX_REQUEST,
            Self::Stdin | Self::Stdout | Self::Stderr => MAX_DATA,
            Self::StdinEof => 0,
            Self::Signal | Self::CloseOutput => 1,
            Self::Started | Self::StdinCredit => 4,
            Self::Resize | Self::Clock => 8,
            Self::Outcome | Self::Info => MAX_ANSWER,
            Self::Plan => MAX_PLAN,
            Self::Named => MAX_NAMED,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Result<Self, FrameError> {
        let found = Self::ALL.into_iter().find(|kind| *kind as u8 == byte);
        found.ok_or(FrameError::UnknownKind(byte))
    }
}

/// The header of a frame whose payload the caller writes behind it.
///
/// # Panics
/// When the payload is longer than the kind allows, a mistake of ours.
pub fn header(kind: Kind, length: usize) -> [u8; HEADER] {
    assert!(length <= kind.max_payload(), "{kind:?} frame of {length} bytes");
    let [a, b, c, d] = u32::try_from(length).expect("bounded by max_payload").to_be_bytes();
    [kind as u8, a, b, c, d]
}

/// Appends a whole frame to `out`.
pub fn encode(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER + payload.len());
    out.extend(header(kind, payload.len()));
    out.extend(payload);
}

/// Cuts a growing buffer into frames, for blocking and async readers alike:
/// read into [`Decoder::space`], tell [`Decoder::filled`], drain [`Decoder::next`].
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Decoder {
    /// Memory to read into; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        self.make_room();
        &mut self.buffer[self.end..]
    }

    /// `count` bytes of the space now hold input.
    pub fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.buffer.len(), "more was filled than there was space");
    }

    /// The next whole frame, or `None` when more bytes are needed.
    #[allow(clippy::should_implement_trait)] // lends from itself, as no Iterator can
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some((kind, length)) = self.peek()? else { return Ok(None) };
        let begin = self.start + HEADER;
        if self.end - begin < length {
            return Ok(None);
        }
        self.start = begin + length;
        Ok(Some(Frame { kind, payload: &self.buffer[begin..begin + length] }))
    }

    /// Whether bytes of an unfinished frame are held.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn peek(&self) -> Result<Option<(Kind, usize)>, FrameError> {
        let held = &self.buffer[self.start..self.end];
        let Some(&[byte, a, b, c, d]) = held.first_chunk::<HEADER>() else { return Ok(None) };
        let kind = Kind::from_byte(byte)?;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > kind.max_payload() {
            return Err(FrameError::TooLong { kind, length });
        }
        Ok(Some((kind, length)))
    }

    /// Starts small, because most streams carry little, and doubles with
    /// what has really arrived.
    fn make_room(&mut self) {
        const SMALLEST: usize = 4 * 1024;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        if self.buffer.len() - self.end >= SMALLEST {
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() - self.end < SMALLEST.max(self.buffer.len() / 2) {
            let larger = (self.buffer.len() * 2).max(SMALLEST);
            self.buffer.resize(larger, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(bytes: &[u8], step: usize) -> Result<Vec<(Kind, Vec<u8>)>, FrameError> {
        let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
        for piece in bytes.chunks(step) {
            let mut rest = piece;
            while !rest.is_empty() {
                let space = decoder.space();
                let count = space.len().min(rest.len());
                space[..count].copy_from_slice(&rest[..count]);
                decoder.filled(count);
                rest = &rest[count..];
                while let Some(frame) = decoder.next()? {
                    frames.push((frame.kind, frame.payload.to_vec()));
                }
            }
        }
        Ok(frames)
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_byte(kind as u8), Ok(kind));
        }
        assert_eq!(Kind::from_byte(0), Err(FrameError::UnknownKind(0)));
    }

    #[test]
    fn the_largest_data_frame_passes_and_one_byte_more_does_not() {
        let mut bytes = Vec::new();
        encode(Kind::Stdin, &vec![7; MAX_DATA], &mut bytes);
        assert_eq!(decode_all(&bytes, 1000).unwrap().len(), 1);
        bytes[..HEADER].copy_from_slice(&[2, 0, 1, 0, 1]);
        let refused = FrameError::TooLong { kind: Kind::Stdin, length: MAX_DATA + 1 };
        assert_eq!(decode_all(&bytes, 1000), Err(refused));
    }

    #[test]
    fn a_claimed_length_reserves_nothing() {
        let mut decoder = Decoder::default();
        decoder.space()[..HEADER].copy_from_slice(&header(Kind::Request, MAX_REQUEST));
        decoder.filled(HEADER);
        assert_eq!(decoder.next(), Ok(None));
        decoder.space();
        assert!(decoder.buffer.len() < 64 * 1024);
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            frames in prop::collection::vec((0usize..2, prop::collection::vec(any::<u8>(), 0..9000)), 0..8),
            step in 1usize..5000,
        ) {
            let kinds = [Kind::Stdout, Kind::Stdin];
            let frames: Vec<_> = frames.into_iter().map(|(k, p)| (kinds[k], p)).collect();
            let mut bytes = Vec::new();
            for (kind, payload) in &frames {
                encode(*kind, payload, &mut bytes);
            }
            prop_assert_eq!(decode_all(&bytes, step), Ok(frames));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..4000), step in 1usize..500) {
            let _ = decode_all(&bytes, step);
        }
    }
}
