//! Dialling by the VM's own virtio port: QEMU's socket for it lets in its owner
//! alone, and only root of the guest can open the other end, so there is nobody to
//! log in and nothing to encrypt. `protocol::port` says how the two ends meet.

use std::io;
use std::path::Path;
use std::time::Duration;

use futures::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use uuid::Uuid;

use super::install::{AgentBinary, Verdict, judge};
use crate::protocol::hello::Hello;
use crate::protocol::port::{ASK, FromGuest, Lines, take};
use crate::qemu::endpoint;

/// An agent that waits answers within a few milliseconds. One that does not may still
/// be talking to who was here before, and learns of us when we have gone: the next
/// attempt takes twice as long.
const FIRST_ATTEMPT: Duration = Duration::from_millis(500);
const LONGEST_ATTEMPT: Duration = Duration::from_secs(8);

/// For the guest to see that nobody is here.
const GAP: Duration = Duration::from_millis(30);

/// yamux writes a frame in parts and flushes after it.
const BUFFER: usize = 64 * 1024;

/// A socket of whatever kind QEMU listens on: reading, writing and waiting are the
/// same for all of them.
type Socket = BufReader<BufWriter<Compat<TcpStream>>>;

/// An agent that takes a link by the port.
pub(super) struct Met {
    pub hello: Hello,
    pub io: Socket,
}

/// Pends until an agent answers. `None`: it is one to be replaced, or that this nsvm
/// does not understand, or the VM has no such port.
pub(super) async fn meet(place: &Path, agent: &AgentBinary) -> Option<Met> {
    let mut patience = FIRST_ATTEMPT;
    loop {
        match attempt(place, patience).await {
            Ok(met) if judge(&met.hello, agent) == Verdict::Stays => return Some(met),
            Ok(met) => {
                tracing::info!(found = met.hello.sha256, "another agent answers at the port");
                return None;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => tracing::debug!("the port of the link: {e}"),
        }
        sleep(GAP).await;
        patience = LONGEST_ATTEMPT.min(patience * 2);
    }
}

async fn attempt(place: &Path, patience: Duration) -> io::Result<Met> {
    let place = place.to_owned();
    let socket = spawn_blocking(move || endpoint::connect(&place)).await??;
    socket.set_nonblocking(true)?;
    let socket = TcpStream::from_std(socket.into())?;
    // Only one of TCP has such a delay.
    let _ = socket.set_nodelay(true);
    let writer = BufWriter::with_capacity(BUFFER, socket.compat());
    let mut io = BufReader::with_capacity(BUFFER, writer);
    let hello = timeout(patience, greet(&mut io)).await??;
    Ok(Met { hello, io })
}

/// Takes what is offered.
async fn greet<T>(io: &mut BufReader<T>) -> io::Result<Hello>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let own = Uuid::new_v4().simple().to_string();
    let mut offered: Option<(String, Box<Hello>)> = None;
    let mut lines = Lines::default();
    say(io, ASK).await?;
    loop {
        let Some(line) = lines.take_line() else {
            let bytes = io.fill_buf().await?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // Not beyond the last line: yamux is behind it.
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            lines.push(&bytes[..end]);
            io.consume_unpin(end);
            continue;
        };
        match FromGuest::parse(&line) {
            Some(FromGuest::Given { own: heard }) if heard == own => {
                let (_, hello) = offered.ok_or(io::ErrorKind::InvalidData)?;
                return Ok(*hello);
            }
            Some(FromGuest::Offer { word, hello }) => {
                if offered.as_ref().is_none_or(|(taken, _)| *taken != word) {
                    say(io, &take(&word, &own)).await?;
                    offered = Some((word, hello));
                }
            }
            Some(FromGuest::Given { .. }) | None => {}
        }
    }
}

async fn say(io: &mut (impl AsyncWrite + Unpin), line: &[u8]) -> io::Result<()> {
    io.write_all(line).await?;
    io.flush().await
}
