//! Ours in the place of a guest's agent, by the link to that one: a new SSH connection
//! and SFTP take a translated guest 15 to 20 s, this takes two.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::Link;
use super::conversation::{self, Heard, Listener, Talker};
use super::install::{AgentBinary, script};
use super::port::{Found, Guest, Met, meet};
use crate::protocol::outcome::Outcome;
use crate::protocol::request::{ExecRequest, UserSpec};

/// All of it, translated and on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

/// The older agent may answer once more before it ends.
const AGAIN: Duration = Duration::from_millis(100);

/// As much as is kept of what the script says. Guest data.
const SAID_MAX: usize = 1024;

/// What the agent runs as root, with the digest as its argument: takes the new one from
/// its stdin and does what a script that came by SSH does.
const RECEIVE: &str = "umask 077
upload=$(mktemp /run/nsvm/agent.XXXXXX) && cat >\"$upload\" && main \"$upload\" \"$1\"";

/// A link to ours, once that is there.
pub(super) async fn replace(older: Met, place: &Path, agent: &AgentBinary) -> io::Result<Link> {
    let all = async {
        let link = Link::by_port(older);
        install(&link, agent).await?;
        drop(link);
        tracing::info!(agent = agent.sha256(), "another agent was installed by the port");
        loop {
            match meet(place, agent, Guest::Runs).await {
                Found::Ours(met) => return Ok(Link::by_port(met)),
                Found::Other(_) => sleep(AGAIN).await,
                Found::Nobody => return Err(io::Error::other("its port is gone")),
            }
        }
    };
    timeout(PATIENCE, all).await?
}

async fn install(link: &Link, agent: &AgentBinary) -> io::Result<()> {
    let bytes = read(agent).await?;
    let script = script(RECEIVE);
    let mut request = ExecRequest::new(["sh", "-c", &script, "sh", agent.sha256()]);
    request.user = Some(UserSpec { user: "root".into(), group: None });
    let stream = link.open().await.map_err(io::Error::other)?;
    let (mut talker, mut listener) = conversation::begin(stream, request).await?;
    let (sent, ended) = tokio::join!(send(&mut talker, &bytes), outcome(&mut listener));
    match ended? {
        // It ends with the agent that it has ended.
        None => sent,
        Some((Outcome::Exited(0), _)) => Ok(()),
        Some((outcome, said)) => {
            let said = String::from_utf8_lossy(&said);
            let said: String = said.trim().chars().filter(|c| !c.is_control()).collect();
            Err(io::Error::other(format!("{outcome:?}: {said}")))
        }
    }
}

async fn read(agent: &AgentBinary) -> io::Result<Vec<u8>> {
    let agent = agent.clone();
    let reading = spawn_blocking(move || {
        let mut bytes = Vec::new();
        agent.write_to(&mut bytes).map(|()| bytes)
    });
    reading.await?.map_err(io::Error::other)
}

async fn send(talker: &mut Talker, bytes: &[u8]) -> io::Result<()> {
    talker.stdin(bytes).await?;
    talker.end().await
}

/// How the script ended and what it said; `None` when its agent was gone before it.
async fn outcome(listener: &mut Listener) -> io::Result<Option<(Outcome, Vec<u8>)>> {
    let mut said = Vec::new();
    loop {
        match listener.next().await {
            Ok(Heard::Stdout(text) | Heard::Stderr(text)) => {
                let room = SAID_MAX - said.len();
                said.extend_from_slice(&text[..text.len().min(room)]);
            }
            Ok(Heard::Outcome(outcome)) => return Ok(Some((outcome, said))),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(e),
            Err(_) => return Ok(None),
        }
    }
}
