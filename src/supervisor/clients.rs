//! Clients of the control endpoint: each gets a task of its own.

use std::sync::Arc;
use std::time::Duration;

use interprocess::local_socket::tokio::Stream;
use tokio::io::AsyncReadExt;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tokio_util::task::TaskTracker;

use super::driver::Happening;
use super::exec;
use super::feed::Feed;
use super::lifecycle::{Input, Wish};
use super::link_keeper::LinkWatch;
use super::news::News;
use super::uses::{Use, Uses};
use super::way::{self, Way};
use crate::control::message::{PROTOCOL, Reply, Request, RunStatus};
use crate::control::server::{Server, let_it_hear, read_request, write_reply};
use crate::machine::event::{Event, RunState};
use crate::machine::name::MachineName;
use crate::machine::suspended::Reason;
use crate::protocol::request::UserSpec;

/// A command that finds the link down waits this long for it to come back.
pub(super) const LINK_PATIENCE: Duration = Duration::from_secs(15);

/// Copied at once between a client and its stream.
pub(super) const RELAY_BUFFER: usize = 64 * 1024;

/// How long what came before the loss of a link may take to reach a client.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// What the tasks of clients share.
#[derive(Clone)]
pub struct Desk {
    pub machine: MachineName,
    /// Who runs what names nobody.
    pub user: UserSpec,
    pub happenings: mpsc::UnboundedSender<Happening>,
    pub start: Arc<Feed>,
    pub stop: Arc<Feed>,
    pub news: News,
    pub link: LinkWatch,
    /// Whether anybody has asked for anything yet.
    pub met: Arc<watch::Sender<bool>>,
    /// Who uses the machine.
    pub uses: Uses,
    /// The tasks themselves, so that the end can wait for their last words.
    pub sessions: TaskTracker,
}

/// Accepts clients for ever.
pub async fn serve(server: Server, desk: Desk) {
    loop {
        match server.accept().await {
            Ok(stream) => {
                desk.sessions.spawn(answer(stream, desk.clone()));
            }
            Err(e) => {
                tracing::warn!("accepting a client failed: {e}");
                // Out of file descriptors, most likely: some will be closed.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut stream: Stream, desk: Desk) {
    let request = match read_request(&mut stream).await {
        Ok(request) => request,
        Err(e) => {
            tracing::warn!("a client's request cannot be read: {e}");
            let _ = write_reply(&mut stream, &not_understood(&e)).await;
            return let_it_hear(&mut stream).await;
        }
    };
    desk.met.send_replace(true);
    let Some(_use) = used(&request, &desk).await else {
        // A command looks for the machine again; others are told.
        if !matches!(request, Request::Session) {
            let hint = format!("Start it again with `nsvm machine start {}`", desk.machine);
            let reply = Reply::failed("the machine has been suspended", Some(hint));
            let _ = write_reply(&mut stream, &reply).await;
            let_it_hear(&mut stream).await;
        }
        return;
    };
    let result = match request {
        Request::Watch => forward(&mut stream, desk.start.watch()).await,
        Request::Cancel => {
            let watch = desk.start.watch();
            let _ = desk.happenings.send(Happening::Life(Input::Cancelled));
            forward(&mut stream, watch).await
        }
        Request::Stop { force, timeout_ms } => {
            let watch = desk.stop.watch();
            let patience = Duration::from_millis(timeout_ms);
            let asked = Input::Asked(Wish::Stop { force, patience });
            let _ = desk.happenings.send(Happening::Life(asked));
            forward(&mut stream, watch).await
        }
        Request::Suspend { brief } => {
            let reason = if brief { Reason::Brief } else { Reason::Asked };
            let (waiter, replies) = mpsc::unbounded_channel();
            let _ = desk.happenings.send(Happening::SuspendAsked { reason, waiter });
            forward(&mut stream, replies).await
        }
        Request::HandOver => {
            let (waiter, replies) = mpsc::unbounded_channel();
            let _ = desk.happenings.send(Happening::HandOverAsked(waiter));
            forward(&mut stream, replies).await
        }
        Request::Session => session(&mut stream, desk.link).await,
        Request::Exec(wanted) => exec::exec(&stream, &desk, &wanted).await,
        Request::Forward { port } => exec::forward(&stream, &desk, port.get()).await,
        Request::Status => write_reply(&mut stream, &status(&desk)).await,
        Request::Events => events(&stream, &desk.news).await,
    };
    match result {
        Ok(()) => let_it_hear(&mut stream).await,
        Err(e) => tracing::debug!("a client went away: {e}"),
    }
}

/// The use that a request makes of the machine; the outer `None`: it has been
/// suspended meanwhile.
async fn used(request: &Request, desk: &Desk) -> Option<Option<Use>> {
    match request {
        Request::Session | Request::Exec(_) | Request::Forward { .. } => {
            desk.uses.begin().await.map(Some)
        }
        Request::Events => Some(Some(desk.uses.follow())),
        _ => Some(None),
    }
}

fn not_understood(error: &std::io::Error) -> Reply {
    let hint = format!("Requests are lines of JSON, protocol {PROTOCOL}: see docs/api.md");
    Reply::failed(format!("this request is not understood: {error}"), Some(hint))
}

fn status(desk: &Desk) -> Reply {
    let (state, _) = desk.news.follow();
    Reply::Status(RunStatus {
        protocol: PROTOCOL,
        nsvm: env!("CARGO_PKG_VERSION").to_owned(),
        machine: desk.machine.to_string(),
        state,
        supervisor_pid: std::process::id(),
    })
}

/// Everything that happens, until the run has ended or the client is gone.
async fn events(stream: &Stream, news: &News) -> std::io::Result<()> {
    let (state, mut inbox) = news.follow();
    let (mut receiver, mut sender) = (stream, stream);
    write_reply(&mut sender, &Reply::event(Event::State { state })).await?;
    loop {
        let event = tokio::select! {
            event = inbox.recv() => event,
            // It has nothing more to say, so this is its end.
            _ = receiver.read_u8() => return Ok(()),
        };
        match event {
            Ok(event) => {
                let ended = event == Event::State { state: RunState::Stopped };
                write_reply(&mut sender, &Reply::event(event)).await?;
                if ended {
                    return Ok(());
                }
            }
            Err(RecvError::Lagged(missed)) => {
                let text = format!("{missed} events were missed");
                let warning = Reply::event(Event::Warning { text });
                write_reply(&mut sender, &warning).await?;
            }
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

async fn forward(
    stream: &mut Stream,
    mut replies: mpsc::UnboundedReceiver<Reply>,
) -> std::io::Result<()> {
    while let Some(reply) = replies.recv().await {
        write_reply(stream, &reply).await?;
    }
    Ok(())
}

/// Joins the client to a stream of the agent. The bytes are theirs: nothing
/// here looks into them.
async fn session(stream: &mut Stream, watch: LinkWatch) -> std::io::Result<()> {
    match way::open(watch.clone()).await {
        Err(reply) => write_reply(stream, &reply).await,
        Ok(Way { stream: agent, link, in_use: _in_use }) => {
            write_reply(stream, &Reply::Done).await?;
            let mut agent = agent.compat();
            let both = tokio::io::copy_bidirectional_with_sizes(
                stream,
                &mut agent,
                RELAY_BUFFER,
                RELAY_BUFFER,
            );
            // A client that is silent too would wait for ever.
            let lost = async {
                watch.lost(&link).await;
                tokio::time::sleep(LAST_BYTES).await;
            };
            tokio::select! {
                ended = both => ended.map(drop),
                () = lost => Ok(()),
            }
        }
    }
}
