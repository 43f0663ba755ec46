//! Frames by meaning: what each kind's payload says.

use super::frame::{self, Frame, FrameError, Kind};
use super::outcome::{Info, Outcome, Plan};
use super::request::{Request, Size};
use crate::namespace::named::Named;

/// Bytes of stdin the host may send before the agent grants more.
pub const INITIAL_STDIN_CREDIT: usize = 256 * 1024;

/// From the host. Data is borrowed from the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromHost<'a> {
    Request(Request),
    /// Bytes for the program's stdin, within the credit.
    Stdin(&'a [u8]),
    /// Nothing more will come on stdin.
    StdinEof,
    /// The host's terminal has a new size.
    Resize(Size),
    /// A signal (Linux number) for the program.
    Signal(u8),
    /// The host's reader of this output has gone.
    CloseOutput(Output),
}

/// From the agent. Data is borrowed from the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromAgent<'a> {
    /// A process was made for the program. Comes with the first of the
    /// messages below, not before.
    Started {
        pid: u32,
    },
    Stdout(&'a [u8]),
    Stderr(&'a [u8]),
    /// That many more bytes of stdin may be sent.
    StdinCredit(u32),
    /// The end; the agent closes the stream behind it.
    Outcome(Outcome),
    Info(Info),
    Plan(Plan),
    Named(Vec<Named>),
    /// The time here, in nanoseconds since 1970.
    Clock(i64),
}

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Output {
    Stdout = 1,
    Stderr = 2,
}

impl<'a> FromHost<'a> {
    /// Appends the frame. Fails only for a request that is too large.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            Self::Request(request) => request.encode(out)?,
            Self::Stdin(bytes) => frame::encode(Kind::Stdin, bytes, out),
            Self::StdinEof => frame::encode(Kind::StdinEof, &[], out),
            Self::Resize(size) => frame::encode(Kind::Resize, &size_bytes(*size), out),
            Self::Signal(number) => frame::encode(Kind::Signal, &[*number], out),
            Self::CloseOutput(which) => frame::encode(Kind::CloseOutput, &[*which as u8], out),
        }
        Ok(())
    }

    pub fn decode(frame: Frame<'a>) -> Result<Self, FrameError> {
        let Frame { kind, payload } = frame;
        Ok(match kind {
            Kind::Request => Self::Request(Request::decode(payload)?),
            Kind::Stdin => Self::Stdin(payload),
            Kind::StdinEof => Self::StdinEof,
            Kind::Resize => Self::Resize(size_of(exactly(kind, payload)?)),
            Kind::Signal => Self::Signal(exactly::<1>(kind, payload)?[0]),
            Kind::CloseOutput => Self::CloseOutput(output_of(exactly(kind, payload)?)?),
            _ => return Err(FrameError::OutOfPlace(kind)),
        })
    }
}

impl<'a> FromAgent<'a> {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Started { pid } => frame::encode(Kind::Started, &pid.to_be_bytes(), out),
            Self::Stdout(bytes) => frame::encode(Kind::Stdout, bytes, out),
            Self::Stderr(bytes) => frame::encode(Kind::Stderr, bytes, out),
            Self::StdinCredit(count) => {
                frame::encode(Kind::StdinCredit, &count.to_be_bytes(), out);
            }
            Self::Outcome(outcome) => frame::encode(Kind::Outcome, &pack(outcome), out),
            Self::Info(info) => frame::encode(Kind::Info, &pack(info), out),
            Self::Plan(plan) => frame::encode(Kind::Plan, &pack(plan), out),
            Self::Named(all) => frame::encode(Kind::Named, &pack(all), out),
            Self::Clock(nanos) => frame::encode(Kind::Clock, &nanos.to_be_bytes(), out),
        }
    }

    pub fn decode(frame: Frame<'a>) -> Result<Self, FrameError> {
        let Frame { kind, payload } = frame;
        Ok(match kind {
            Kind::Started => Self::Started { pid: u32::from_be_bytes(exactly(kind, payload)?) },
            Kind::Stdout => Self::Stdout(payload),
            Kind::Stderr => Self::Stderr(payload),
            Kind::StdinCredit => Self::StdinCredit(u32::from_be_bytes(exactly(kind, payload)?)),
            Kind::Outcome => Self::Outcome(unpack(kind, payload)?),
            Kind::Info => Self::Info(unpack(kind, payload)?),
            Kind::Plan => Self::Plan(unpack(kind, payload)?),
            Kind::Named => Self::Named(unpack(kind, payload)?),
            Kind::Clock => Self::Clock(i64::from_be_bytes(exactly(kind, payload)?)),
            _ => return Err(FrameError::OutOfPlace(kind)),
        })
    }
}

fn pack(value: &impl serde::Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("plain fields serialize")
}

fn unpack<T: serde::de::DeserializeOwned>(kind: Kind, payload: &[u8]) -> Result<T, FrameError> {
    rmp_serde::from_slice(payload)
        .map_err(|e| FrameError::Malformed { kind, reason: e.to_string() })
}

fn exactly<const N: usize>(kind: Kind, payload: &[u8]) -> Result<[u8; N], FrameError> {
    payload.try_into().map_err(|_| FrameError::Malformed {
        kind,
        reason: format!("{} bytes instead of {N}", payload.len()),
    })
}

fn size_bytes(size: Size) -> [u8; 8] {
    let mut bytes = [0; 8];
    let fields = [size.rows, size.cols, size.xpixel, size.ypixel];
    for (pair, field) in bytes.chunks_exact_mut(2).zip(fields) {
        pair.copy_from_slice(&field.to_be_bytes());
    }
    bytes
}

fn size_of(bytes: [u8; 8]) -> Size {
    let field = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    Size { rows: field(0), cols: field(2), xpixel: field(4), ypixel: field(6) }
}

fn output_of([byte]: [u8; 1]) -> Result<Output, FrameError> {
    match byte {
        1 => Ok(Output::Stdout),
        2 => Ok(Output::Stderr),
        other => Err(FrameError::Malformed {
            kind: Kind::CloseOutput,
            reason: format!("no output has the number {other}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Decoder, HEADER};
    use super::super::outcome::{FailedStep, Failure};
    use super::*;
    use crate::namespace::plan::Step;

    fn frame_of(bytes: &[u8]) -> Decoder {
        let mut decoder = Decoder::default();
        decoder.space()[..bytes.len()].copy_from_slice(bytes);
        decoder.filled(bytes.len());
        decoder
    }

    #[test]
    fn host_messages_come_back_as_sent() {
        let size = Size { rows: 50, cols: 300, xpixel: 1, ypixel: 65535 };
        for message in [
            FromHost::Request(Request::Info),
            FromHost::Stdin(b"\0\xff"),
            FromHost::StdinEof,
            FromHost::Resize(size),
            FromHost::Signal(15),
            FromHost::CloseOutput(Output::Stderr),
        ] {
            let mut bytes = Vec::new();
            message.encode(&mut bytes).unwrap();
            let mut decoder = frame_of(&bytes);
            assert_eq!(FromHost::decode(decoder.next().unwrap().unwrap()), Ok(message));
        }
    }

    #[test]
    fn agent_messages_come_back_as_sent() {
        let failure =
            Failure { step: FailedStep::Exec, errno: 2, message: "failed to execute x".into() };
        for message in [
            FromAgent::Started { pid: 70_000 },
            FromAgent::Stdout(b"out"),
            FromAgent::Stderr(b""),
            FromAgent::StdinCredit(65_536),
            FromAgent::Clock(-1),
            FromAgent::Outcome(Outcome::Exited(7)),
            FromAgent::Outcome(Outcome::Signaled { signal: 9, core: false }),
            FromAgent::Outcome(Outcome::NotStarted(failure)),
            FromAgent::Info(Info { kernel: "6.12".into(), ..Info::default() }),
            FromAgent::Plan(Plan { steps: vec![Step::Exec], program: "x".into() }),
        ] {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            let mut decoder = frame_of(&bytes);
            assert_eq!(FromAgent::decode(decoder.next().unwrap().unwrap()), Ok(message));
        }
    }

    #[test]
    fn frames_of_the_other_direction_are_out_of_place() {
        let stdin = Frame { kind: Kind::Stdin, payload: b"" };
        assert_eq!(FromAgent::decode(stdin), Err(FrameError::OutOfPlace(Kind::Stdin)));
        let stdout = Frame { kind: Kind::Stdout, payload: b"" };
        assert_eq!(FromHost::decode(stdout), Err(FrameError::OutOfPlace(Kind::Stdout)));
    }

    #[test]
    fn short_payloads_are_malformed() {
        for kind in [Kind::Resize, Kind::Signal, Kind::CloseOutput] {
            let refused = FromHost::decode(Frame { kind, payload: b"" });
            assert!(matches!(refused, Err(FrameError::Malformed { .. })), "{kind:?}");
        }
        assert_eq!(HEADER, 5);
    }
}
