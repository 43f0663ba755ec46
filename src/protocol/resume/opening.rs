//! The first bytes of a way, and what the agent says to one that resumes.

use super::stream::HEADER;

/// Begins an opening; no kind of frame has this number.
pub const TAG: u8 = 0x9e;

const NEW: u8 = 0;
const RESUME: u8 = 1;
const ATTACHED: u8 = 3;
const UNKNOWN: u8 = 4;

/// Which stream, and the proof that it is the caller's own: 128 random bits
/// each, chosen by the client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub id: [u8; 16],
    pub secret: [u8; 16],
}

/// What a client wants of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    pub token: Token,
    /// A new stream, or one that exists, of which the client has received
    /// this many bytes.
    pub resume: Option<u64>,
}

/// The agent's word on an opening that resumes; a new stream needs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It goes on; the agent has received this many bytes.
    Attached(u64),
    /// There is no such stream, or its secret is another.
    Unknown,
}

impl std::fmt::Debug for Token {
    /// Without the secret: this goes to logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({:02x?})", self.id)
    }
}

impl Token {
    /// Compared in a time that does not tell how much of the secret is right.
    pub fn proves(&self, secret: &[u8; 16]) -> bool {
        self.secret.iter().zip(secret).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl Opening {
    /// Its length in bytes.
    pub const LENGTH: usize = 2 + 16 + 16 + 8;

    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[0] = TAG;
        bytes[1] = if self.resume.is_some() { RESUME } else { NEW };
        bytes[2..18].copy_from_slice(&self.token.id);
        bytes[18..34].copy_from_slice(&self.token.secret);
        bytes[34..].copy_from_slice(&self.resume.unwrap_or(0).to_be_bytes());
        bytes
    }

    /// `None` for anything else.
    pub fn decode(bytes: &[u8; Self::LENGTH]) -> Option<Self> {
        let (id, rest) = bytes[2..].split_first_chunk()?;
        let (secret, rest) = rest.split_first_chunk()?;
        let received = u64::from_be_bytes(*rest.first_chunk()?);
        let resume = match bytes[..2] {
            [TAG, NEW] => None,
            [TAG, RESUME] => Some(received),
            _ => return None,
        };
        Some(Self { token: Token { id: *id, secret: *secret }, resume })
    }
}

impl Answer {
    /// Its length in bytes.
    pub const LENGTH: usize = HEADER;

    pub fn encode(self) -> [u8; HEADER] {
        let (tag, offset) = match self {
            Self::Attached(received) => (ATTACHED, received),
            Self::Unknown => (UNKNOWN, 0),
        };
        super::stream::header(tag, offset, 0)
    }

    /// `None` for anything else.
    pub fn decode(bytes: &[u8; HEADER]) -> Option<Self> {
        match super::stream::parts(bytes) {
            (ATTACHED, received, 0) => Some(Self::Attached(received)),
            (UNKNOWN, _, 0) => Some(Self::Unknown),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::frame::Kind;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn openings_and_answers_come_back_as_sent(
            id in any::<[u8; 16]>(), secret in any::<[u8; 16]>(), resume in any::<Option<u64>>(),
        ) {
            let opening = Opening { token: Token { id, secret }, resume };
            prop_assert_eq!(Opening::decode(&opening.encode()), Some(opening));
            let answer = resume.map_or(Answer::Unknown, Answer::Attached);
            prop_assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }

        #[test]
        fn no_bytes_make_a_reader_panic(opening in any::<[u8; Opening::LENGTH]>(), answer in any::<[u8; HEADER]>()) {
            let _ = (Opening::decode(&opening), Answer::decode(&answer));
        }
    }

    #[test]
    fn an_opening_is_no_frame_and_keeps_its_secret() {
        assert!(Kind::from_byte(TAG).is_err());
        let token = Token { id: [1; 16], secret: [0xab; 16] };
        assert!(!format!("{token:?}").contains("ab"), "{token:?}");
        assert!(token.proves(&[0xab; 16]) && !token.proves(&[0xaa; 16]));
    }
}
