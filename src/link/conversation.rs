//! A program in the guest that the host itself talks to, not only a client behind it:
//! two halves that work at the same time. Dropping both hangs up on the program.

use std::io;
use std::sync::Arc;

use futures::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Semaphore;

use crate::protocol::frame::{Decoder, MAX_DATA};
use crate::protocol::message::{FromAgent, FromHost, INITIAL_STDIN_CREDIT};
use crate::protocol::outcome::Outcome;
use crate::protocol::request::{ExecRequest, Request};

/// What the program is told.
pub struct Talker {
    writer: WriteHalf<yamux::Stream>,
    /// Bytes of stdin that the agent still takes.
    credit: Arc<Semaphore>,
}

/// What comes of it.
pub struct Listener {
    reader: ReadHalf<yamux::Stream>,
    decoder: Decoder,
    credit: Arc<Semaphore>,
}

/// One thing that came.
pub enum Heard {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The last one.
    Outcome(Outcome),
}

/// Asks the agent at the other end for the program.
pub async fn begin(stream: yamux::Stream, request: ExecRequest) -> io::Result<(Talker, Listener)> {
    let (reader, writer) = stream.split();
    let credit = Arc::new(Semaphore::new(INITIAL_STDIN_CREDIT));
    let mut talker = Talker { writer, credit: credit.clone() };
    talker.send(&FromHost::Request(Request::Exec(Box::new(request)))).await?;
    Ok((talker, Listener { reader, decoder: Decoder::default(), credit }))
}

impl Talker {
    /// Bytes for its stdin, when it takes them.
    pub async fn stdin(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(MAX_DATA) {
            let count = u32::try_from(part.len()).unwrap_or(u32::MAX);
            let credit = self.credit.clone();
            // Never closed: it lives as long as this half.
            if let Ok(spent) = credit.acquire_many(count).await {
                spent.forget();
            }
            self.send(&FromHost::Stdin(part)).await?;
        }
        Ok(())
    }

    pub async fn end(&mut self) -> io::Result<()> {
        self.send(&FromHost::StdinEof).await
    }

    /// A signal by its Linux number.
    pub async fn signal(&mut self, number: u8) -> io::Result<()> {
        self.send(&FromHost::Signal(number)).await
    }

    async fn send(&mut self, message: &FromHost<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).map_err(invalid)?;
        self.writer.write_all(&bytes).await?;
        self.writer.flush().await
    }
}

impl Listener {
    /// What comes next.
    pub async fn next(&mut self) -> io::Result<Heard> {
        loop {
            while let Some(frame) = self.decoder.next().map_err(invalid)? {
                match FromAgent::decode(frame).map_err(invalid)? {
                    FromAgent::Stdout(bytes) => return Ok(Heard::Stdout(bytes.to_owned())),
                    FromAgent::Stderr(bytes) => return Ok(Heard::Stderr(bytes.to_owned())),
                    FromAgent::Outcome(outcome) => return Ok(Heard::Outcome(outcome)),
                    FromAgent::StdinCredit(more) => self.grant(more as usize),
                    _ => {}
                }
            }
            let count = self.reader.read(self.decoder.space()).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.decoder.filled(count);
        }
    }

    /// A guest that grants more than anybody could send only means it well.
    fn grant(&self, more: usize) {
        let room = Semaphore::MAX_PERMITS - self.credit.available_permits();
        self.credit.add_permits(more.min(room));
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
