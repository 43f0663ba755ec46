//! Keeps the link: dials again when it is lost, for as long as the VM lives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::bring_up::{Dialling, PORT_ALONE};
use super::clock::{self, Pulse, Reading, SharedPulse};
use crate::control::message::Reply;
use crate::link::{Link, LinkError, Way};
use crate::protocol::resume::PATIENCE;

/// One attempt to dial a guest that was up before.
const DIAL_PATIENCE: Duration = Duration::from_secs(60);

/// Of that, for the agent alone of a guest that boots again to answer at its port.
const REBOOTING: Duration = Duration::from_secs(20);

/// QEMU tells of a port's changes once a second: that one was opened again, as by an
/// agent that was restarted, may be told so much later.
const PORT_CLOSED: Duration = Duration::from_millis(1500);

/// Pauses between attempts grow from the first to the last of these.
const BACKOFF: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// What is known about the link.
#[derive(Debug, Clone)]
pub enum LinkState {
    /// Not dialled yet, or lost; the text says why.
    Down(String),
    Up(Arc<Link>),
    /// There will be none in this run, because.
    Never {
        message: String,
        hint: String,
    },
}

/// Sees the link come and go.
#[derive(Clone)]
pub struct LinkWatch(watch::Receiver<LinkState>);

/// The other end: who says that it came or went.
#[derive(Clone)]
pub struct LinkSlot {
    state: Arc<watch::Sender<LinkState>>,
    /// The VM is on its way out: a link that is lost does not come back.
    stopping: Arc<AtomicBool>,
}

pub fn slot() -> (LinkSlot, LinkWatch) {
    let (sender, receiver) = watch::channel(LinkState::Down("the machine is starting".into()));
    (LinkSlot { state: Arc::new(sender), stopping: Arc::default() }, LinkWatch(receiver))
}

impl LinkSlot {
    pub fn set(&self, state: LinkState) {
        self.state.send_replace(self.seen(state));
    }

    /// Nobody shall wait for a link from now on.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let state = self.state.borrow().clone();
        self.set(state);
    }

    fn seen(&self, state: LinkState) -> LinkState {
        match state {
            LinkState::Down(_) if self.stopping.load(Ordering::Relaxed) => LinkState::Never {
                message: "the machine is being stopped".into(),
                hint: "Start it again with `nsvm machine start`".into(),
            },
            other => other,
        }
    }
}

impl LinkWatch {
    /// Waits until this is not the link any more.
    pub async fn lost(mut self, link: &Weak<Link>) {
        let is_it = |up: &Arc<Link>| std::ptr::eq(Arc::as_ptr(up), link.as_ptr());
        let other = |state: &LinkState| !matches!(state, LinkState::Up(up) if is_it(up));
        // Without a sender nobody keeps a link.
        drop(self.0.wait_for(other).await);
    }

    /// The link, if it is up now.
    pub fn now(&self) -> Option<Arc<Link>> {
        match &*self.0.borrow() {
            LinkState::Up(link) => Some(link.clone()),
            LinkState::Down(_) | LinkState::Never { .. } => None,
        }
    }

    /// The link, once it is up; else the reply that says why there is none.
    pub async fn up_within(mut self, patience: Duration) -> Result<Arc<Link>, Reply> {
        // Whether it came or the patience ended: what holds now is the answer.
        let decided = self.0.wait_for(|state| !matches!(state, LinkState::Down(_)));
        drop(tokio::time::timeout(patience, decided).await);
        let state = self.0.borrow().clone();
        match state {
            LinkState::Up(link) => Ok(link),
            LinkState::Never { message, hint } => Err(Reply::failed(message, Some(hint))),
            LinkState::Down(why) => Err(down(&why)),
        }
    }
}

/// What a client is told that may try again.
pub fn down(why: &str) -> Reply {
    Reply::Down {
        message: format!("there is no link to the guest: {why}"),
        hint: Some("Look at `nsvm machine logs --supervisor`".into()),
    }
}

/// Watches over `link` and its successors until the task is aborted.
/// `dialled` is told of each new one, `clock_read` of each look at the guest's
/// clock.
pub async fn keep(
    slot: LinkSlot,
    mut link: Option<Arc<Link>>,
    dialling: Dialling,
    pulse: SharedPulse,
    dialled: impl Fn(&Arc<Link>),
    clock_read: impl Fn(Reading),
) {
    let mut replacing = Replacing::Soon;
    loop {
        let mut alone = PORT_ALONE;
        if let Some(link) = link.take() {
            if link.hello().sha256 == dialling.agent.sha256() {
                replacing = Replacing::Soon;
            }
            dialled(&link);
            slot.set(LinkState::Up(link.clone()));
            let why = tokio::select! {
                why = link.closed() => why,
                why = clock::keep(&link, &pulse.resumed, &clock_read) => why,
                () = pulse.reset.notified() => {
                    alone = REBOOTING;
                    "the guest was reset".into()
                }
                () = port_closed(&pulse), if link.way() == Way::Port => {
                    "the guest's agent is gone".into()
                }
                () = outdated(&link, &dialling, replacing) => {
                    replacing = Replacing::Later;
                    "another agent takes the place of the guest's".into()
                }
            };
            tracing::warn!(why, "the link is lost, dialling again");
            slot.set(LinkState::Down(why));
        }
        link = Some(Arc::new(redial(&slot, &dialling, alone).await));
    }
}

/// How long nothing must use an agent that is to be replaced.
#[derive(Debug, Clone, Copy)]
enum Replacing {
    /// A script's next command shall not have to wait for it.
    Soon,
    /// It was not replaced although it looked idle: a command is kept there for
    /// a client that may come back.
    Later,
}

/// Returns when the guest's agent is not ours and nothing uses it any more:
/// whoever dials next replaces it.
async fn outdated(link: &Link, dialling: &Dialling, replacing: Replacing) {
    if link.hello().sha256 == dialling.agent.sha256() {
        return std::future::pending().await;
    }
    let quiet = match replacing {
        Replacing::Soon => Duration::from_secs(1),
        Replacing::Later => PATIENCE,
    };
    loop {
        link.unused().await;
        tokio::time::sleep(quiet).await;
        if link.is_unused() {
            return;
        }
    }
}

/// Returns when the guest's agent has closed its port, and opens it no more.
async fn port_closed(pulse: &Pulse) {
    let mut closed = pulse.port_closed.subscribe();
    loop {
        // The sender lives as long as this.
        let _ = closed.wait_for(|closed| *closed).await;
        let opened = closed.wait_for(|closed| !*closed);
        if tokio::time::timeout(PORT_CLOSED, opened).await.is_err() {
            return;
        }
    }
}

async fn redial(slot: &LinkSlot, dialling: &Dialling, alone: Duration) -> Link {
    for attempt in 0.. {
        let dialling = dialling.clone();
        match Link::dial(dialling.target, dialling.agent, alone, DIAL_PATIENCE).await {
            Ok(link) => return link,
            Err(e) => {
                tracing::info!("dialling the guest: {e}");
                slot.set(failed(&e));
            }
        }
        tokio::time::sleep(BACKOFF[attempt.min(BACKOFF.len() - 1)]).await;
    }
    unreachable!("the loop only ends with a link")
}

/// A wrong host key will not get better by waiting: say so at once.
fn failed(error: &LinkError) -> LinkState {
    match error.hint() {
        Some(hint) if !error.is_transient() => {
            LinkState::Never { message: error.to_string(), hint }
        }
        _ => LinkState::Down(error.to_string()),
    }
}
