//! The one connection to a guest's agent and the streams inside it: by the VM's
//! virtio port, or by SSH, which also brings the agent there.
//!
//! ```text
//! Link::open -> yamux -> port <=> QEMU <=> the agent
//!
//! tokio side                          the link's thread
//! Link::open -> yamux -> ChannelIo <=> pump <=> libssh2 channel <=> TCP
//! ```
//!
//! Every ssh2 object lives and dies on the link's thread: libssh2 frees a
//! channel without its session's lock (ssh2-rs#322).

pub mod conversation;
mod install;
mod io;
mod mux;
mod port;
mod pump;
mod replace;
mod session;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::protocol::hello::Hello;
use port::{Found, Guest, Met, meet};

pub use install::{AGENT, AgentBinary};
pub use session::answers_as_ssh;

/// An agent that SSH has just brought up answers at its port within this time, or
/// has none.
const AT_ITS_PORT: Duration = Duration::from_millis(500);

/// Where and as whom to dial.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where QEMU listens for the other end of the guest's port (`qemu::endpoint`).
    pub port: PathBuf,
    pub address: SocketAddr,
    pub user: String,
    /// Private key of the machine's user, OpenSSH PEM.
    pub identity: String,
    /// The only host key accepted, `ssh-ed25519 AAAA...`.
    pub host_key: String,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("connecting to the guest's sshd at {address}: {source}")]
    Connect { address: SocketAddr, source: std::io::Error },
    #[error("SSH with the guest failed while {during}: {source}")]
    Ssh { during: &'static str, source: ssh2::Error },
    #[error(
        "the guest's SSH host key is not the one nsvm made for this machine (it shows {shown})"
    )]
    HostKey { shown: String },
    #[error("the guest refused the machine's key for the user \"{user}\"")]
    KeyRefused { user: String },
    #[error("installing the agent in the guest: {0}")]
    Install(String),
    #[error("the guest agent does not answer: {0}")]
    NoAgent(String),
    #[error("the guest agent speaks protocol {theirs}, this nsvm speaks {ours}")]
    Protocol { theirs: u32, ours: u32 },
    #[error("the link to the guest is closed: {0}")]
    Closed(String),
    #[error("reading the agent \"{path}\": {source}")]
    AgentFile { path: String, source: std::io::Error },
    #[error("the agent \"{path}\" is another one than when this supervisor began")]
    AgentChanged { path: String },
}

impl LinkError {
    /// What the user can do, one sentence.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::HostKey { .. } => {
                "Something else answers on that port, or the guest's key was replaced: \
                 look at `nsvm machine logs`, and recreate the machine if its key is lost"
            }
            Self::KeyRefused { .. } => {
                "Look at `nsvm machine logs` for why provisioning did not add the key"
            }
            Self::Install(_) | Self::NoAgent(_) => {
                "The guest needs sshd with SFTP, sudo or doas without a password, and systemd or OpenRC"
            }
            Self::AgentChanged { .. } => {
                "Use the nsvm that it belongs to: its next command brings a supervisor of its own"
            }
            Self::Protocol { theirs, ours } if theirs < ours => {
                "Commands of an older nsvm still run in the guest: wait until they have ended, \
                 or use `nsvm machine restart`"
            }
            Self::Protocol { .. } => {
                "Commands of a newer nsvm still run in the guest: use that nsvm, or wait until \
                 they have ended"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// Whether another try may succeed, as while the guest is still booting.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Ssh { .. } | Self::Closed(_))
    }
}

type OpenReply = oneshot::Sender<Result<yamux::Stream, LinkError>>;

/// What a link goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Port,
    Ssh,
}

/// Who answers at a guest's port.
pub struct Answer(Found);

/// A live link. Dropping it closes the connection.
#[derive(Debug)]
pub struct Link {
    hello: Hello,
    way: Way,
    open: mpsc::Sender<OpenReply>,
    closed: watch::Receiver<Option<String>>,
    /// How many clients use it.
    users: Arc<watch::Sender<usize>>,
}

/// A client's use of the link, which ends when this is dropped.
#[derive(Debug)]
pub struct InUse(Arc<watch::Sender<usize>>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.send_modify(|users| *users -= 1);
    }
}

impl Link {
    /// Waits for the agent of a guest that boots to answer at its port, for ever.
    pub async fn answer_at_boot(target: &Target, agent: &AgentBinary) -> Answer {
        Answer(meet(&target.port, agent, Guest::Boots).await)
    }

    /// To the agent that answered; another one is replaced. `None`: only SSH can do
    /// that, or the VM has no such port.
    pub async fn by_answer(answer: Answer, target: &Target, agent: &AgentBinary) -> Option<Self> {
        match answer.0 {
            Found::Ours(met) => Some(Self::by_port(met)),
            Found::Nobody => None,
            Found::Other(met) => match replace::replace(met, &target.port, agent).await {
                Ok(link) => Some(link),
                Err(e) => {
                    tracing::info!("the agent is not replaced by its port: {e}");
                    None
                }
            },
        }
    }

    /// Dials the guest's agent at its port, and replaces another one. If it has not
    /// answered there after `alone`, or cannot be replaced that way, also by SSH, which
    /// installs ours. `deadline` bounds all of it.
    pub async fn dial(
        target: Target,
        agent: Arc<AgentBinary>,
        alone: Duration,
        deadline: Duration,
    ) -> Result<Self, LinkError> {
        let end = Instant::now() + deadline;
        let answered = timeout(alone.min(deadline), meet(&target.port, &agent, Guest::Runs)).await;
        if let Ok(found) = answered
            && let Some(link) = Self::by_answer(Answer(found), &target, &agent).await
        {
            return Ok(link);
        }
        let by_ssh = Self::dial_by_ssh(target.clone(), agent.clone(), end);
        let link = tokio::select! {
            Found::Ours(met) = meet(&target.port, &agent, Guest::Runs) => return Ok(Self::by_port(met)),
            link = by_ssh => link?,
        };
        match timeout(AT_ITS_PORT, meet(&target.port, &agent, Guest::Runs)).await {
            Ok(Found::Ours(met)) => Ok(Self::by_port(met)),
            Ok(_) | Err(_) => Ok(link),
        }
    }

    fn by_port(met: Met) -> Self {
        Self::over(met.io, met.hello, Way::Port)
    }

    async fn dial_by_ssh(
        target: Target,
        agent: Arc<AgentBinary>,
        end: Instant,
    ) -> Result<Self, LinkError> {
        let (io, ends) = io::pair().map_err(|e| LinkError::Closed(e.to_string()))?;
        let (done, attached) = oneshot::channel();
        std::thread::Builder::new()
            .name("link".into())
            .spawn(move || run(&target, &agent, end, ends, done))
            .map_err(|e| LinkError::Closed(format!("no thread for it: {e}")))?;
        let hello = attached.await.map_err(|_| LinkError::Closed("its thread ended".into()))??;
        Ok(Self::over(io, hello, Way::Ssh))
    }

    fn over(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        hello: Hello,
        way: Way,
    ) -> Self {
        tracing::info!(?way, agent = hello.sha256, "the link is up");
        let (open, requests) = mpsc::channel(64);
        let (closing, closed) = watch::channel(None);
        tokio::spawn(mux::drive(io, requests, closing));
        Self { hello, way, open, closed, users: Arc::new(watch::Sender::new(0)) }
    }

    pub const fn way(&self) -> Way {
        self.way
    }

    /// Who answered.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Opens a stream to the agent; costs no round trip.
    pub async fn open(&self) -> Result<yamux::Stream, LinkError> {
        let (reply, stream) = oneshot::channel();
        self.open.send(reply).await.map_err(|_| self.why_closed())?;
        stream.await.map_err(|_| self.why_closed())?
    }

    /// Notes that a client uses the link. Does not keep it.
    pub fn in_use(&self) -> InUse {
        self.users.send_modify(|users| *users += 1);
        InUse(self.users.clone())
    }

    pub fn is_unused(&self) -> bool {
        *self.users.borrow() == 0
    }

    /// Waits until no client uses it.
    pub async fn unused(&self) {
        // The sender lives as long as this.
        let _ = self.users.subscribe().wait_for(|users| *users == 0).await;
    }

    /// Waits until the link is gone, and says why.
    pub async fn closed(&self) -> String {
        let mut closed = self.closed.clone();
        let reason = closed.wait_for(Option::is_some).await.map(|reason| reason.clone());
        reason.ok().flatten().unwrap_or_else(|| "its task ended".into())
    }

    fn why_closed(&self) -> LinkError {
        let reason = self.closed.borrow().clone();
        LinkError::Closed(reason.unwrap_or_else(|| "its task ended".into()))
    }
}

/// The link's thread: attach, report, then pump until either side ends.
fn run(
    target: &Target,
    agent: &AgentBinary,
    end: Instant,
    ends: io::ThreadEnds,
    done: oneshot::Sender<Result<Hello, LinkError>>,
) {
    match install::attach(target, agent, end) {
        Ok(attached) => {
            if done.send(Ok(attached.hello.clone())).is_ok() {
                pump::run(attached, ends);
            }
        }
        Err(e) => {
            let _ = done.send(Err(e));
        }
    }
}
