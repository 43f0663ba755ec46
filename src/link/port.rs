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
use crate::protocol::hello::{Hello, PROTOCOL};
use crate::protocol::port::{FromGuest, Lines, take};
use crate::qemu::endpoint;

/// An agent that waits makes its offer within a few milliseconds. One that does not may
/// still be talking to who was here before, as in each guest that goes on after it was
/// saved, and learns of us by our going away: these two are twice as long in each
/// attempt.
const FIRST_ATTEMPT: Duration = Duration::from_millis(25);
const FIRST_GAP: Duration = Duration::from_millis(15);

/// The last attempts are as long as that, and all with a guest that boots.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(6);

/// For what follows an offer, on the busiest host.
const MEETING: Duration = Duration::from_secs(5);

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

/// What the guest is known to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guest {
    /// It boots: nobody has been here before.
    Boots,
    Runs,
}

/// Who answers at a port.
pub(super) enum Found {
    /// One that takes a link.
    Ours(Met),
    /// One to be replaced, which takes a link for that.
    Other(Met),
    /// Only SSH can do something about it, or the VM has no such port.
    Nobody,
}

/// Pends until an agent answers.
pub(super) async fn meet(place: &Path, agent: &AgentBinary, guest: Guest) -> Found {
    let (mut patience, mut gap) = (FIRST_ATTEMPT, FIRST_GAP);
    if guest == Guest::Boots {
        patience = LONGEST_ATTEMPT;
    }
    loop {
        match attempt(place, patience).await {
            Ok(met) => match judge(&met.hello, agent) {
                Verdict::Stays => return Found::Ours(met),
                verdict => {
                    tracing::info!(found = met.hello.sha256, "another agent answers at the port");
                    let speaks = met.hello.protocol == PROTOCOL;
                    let replaced = verdict == Verdict::Replaced && speaks;
                    return if replaced { Found::Other(met) } else { Found::Nobody };
                }
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Found::Nobody,
            Err(e) => tracing::debug!("the port of the link: {e}"),
        }
        sleep(gap).await;
        if patience < LONGEST_ATTEMPT {
            (patience, gap) = (patience * 2, gap * 2);
        }
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
    let hello = greet(&mut io, patience).await?;
    Ok(Met { hello, io })
}

/// Takes what is offered.
async fn greet<T>(io: &mut BufReader<T>, patience: Duration) -> io::Result<Hello>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut lines = Lines::default();
    let offered = async {
        loop {
            let heard = hear(io, &mut lines).await?;
            if matches!(heard, FromGuest::Offer { .. }) {
                return Ok::<_, io::Error>(heard);
            }
        }
    };
    let offer = timeout(patience, offered).await??;
    timeout(MEETING, take_over(io, &mut lines, offer)).await?
}

/// Takes this offer, or what comes in its place, until one is given.
async fn take_over<T>(
    io: &mut BufReader<T>,
    lines: &mut Lines,
    mut heard: FromGuest,
) -> io::Result<Hello>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let own = Uuid::new_v4().simple().to_string();
    let mut taken: Option<(String, Box<Hello>)> = None;
    loop {
        match heard {
            FromGuest::Given { own: theirs } if theirs == own => {
                let (_, hello) = taken.ok_or(io::ErrorKind::InvalidData)?;
                return Ok(*hello);
            }
            FromGuest::Offer { word, hello }
                if taken.as_ref().is_none_or(|(before, _)| *before != word) =>
            {
                io.write_all(&take(&word, &own)).await?;
                io.flush().await?;
                taken = Some((word, hello));
            }
            FromGuest::Offer { .. } | FromGuest::Given { .. } => {}
        }
        heard = hear(io, lines).await?;
    }
}

/// The next line of an agent's that waits.
async fn hear<T>(io: &mut BufReader<T>, lines: &mut Lines) -> io::Result<FromGuest>
where
    T: AsyncRead + Unpin,
{
    loop {
        while let Some(line) = lines.take_line() {
            if let Some(heard) = FromGuest::parse(&line) {
                return Ok(heard);
            }
        }
        let bytes = io.fill_buf().await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Not beyond the first line: yamux is behind the last one.
        let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        lines.push(&bytes[..end]);
        io.consume_unpin(end);
    }
}

#[cfg(test)]
mod tests {
    use futures::io::AsyncReadExt;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::protocol::port::{given, offer, taken};

    fn hello(version: &str) -> Hello {
        Hello { version: version.into(), ..Hello::example() }
    }

    async fn line(guest: &mut DuplexStream) -> Vec<u8> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.push(guest.read_u8().await.unwrap());
        }
        line.pop();
        line
    }

    #[tokio::test]
    async fn an_offer_is_taken_whatever_an_earlier_link_left() {
        let (mut guest, host) = duplex(64 * 1024);
        let guest = async move {
            guest.write_all(b"\x00\x01 half a frame\nNSVM-LINK given ?\n\xff").await.unwrap();
            // What somebody's program printed, or an offer of before.
            guest.write_all(&offer("stale", &hello("1"))).await.unwrap();
            assert!(taken(&line(&mut guest).await, "stale").is_some());
            for _ in 0..2 {
                guest.write_all(&offer("word", &hello("2"))).await.unwrap();
            }
            let own = taken(&line(&mut guest).await, "word").unwrap();
            guest.write_all(&[&given(&own)[..], b"yamux\n"].concat()).await.unwrap();
            guest
        };
        let mut io = BufReader::new(host.compat());
        let (mut guest, greeted) = tokio::join!(guest, greet(&mut io, MEETING));
        assert_eq!(greeted.unwrap().version, "2");
        let mut rest = [0; 6];
        io.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"yamux\n");
        // Each offer was taken once.
        drop(io);
        assert_eq!(guest.read(&mut rest).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn where_qemu_has_no_such_port_nobody_waits() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent");
        std::fs::write(&file, b"agent").unwrap();
        let agent = AgentBinary::read(&file).unwrap();
        let met = meet(&dir.path().join("link.sock"), &agent, Guest::Boots).await;
        assert!(matches!(met, Found::Nobody));
    }
}
