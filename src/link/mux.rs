//! Drives yamux: many streams inside one, all opened by us.

use std::future::poll_fn;
use std::task::{Context, Poll};

use futures::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use yamux::{Config, Connection, ConnectionError, Mode};

use super::{LinkError, OpenReply};
use crate::protocol::{frame, resume};

/// Commands that may run at once through one link.
const MAX_STREAMS: usize = 512;

/// Bounds what an agent can make us buffer: the least that yamux takes for
/// [`MAX_STREAMS`] streams, and 16 MiB by which windows of busy ones may grow.
/// A stream has 1 MiB on its way at most (`protocol::resume`), and each window's
/// worth of it costs the guest a packet.
const RECEIVE_WINDOW: usize = MAX_STREAMS * yamux::DEFAULT_CREDIT as usize + (16 << 20);

fn config() -> Config {
    let mut config = Config::default();
    config.set_max_num_streams(MAX_STREAMS);
    config.set_max_connection_receive_window(Some(RECEIVE_WINDOW));
    // One record of a client in one frame.
    config.set_split_send_size(resume::HEADER + frame::HEADER + frame::MAX_DATA);
    config
}

/// Runs until the connection ends or nobody holds the link any more, then tells
/// why.
pub(super) async fn drive(
    io: impl AsyncRead + AsyncWrite + Unpin,
    mut requests: mpsc::Receiver<OpenReply>,
    closing: watch::Sender<Option<String>>,
) {
    let mut connection = Connection::new(io, config(), Mode::Client);
    let mut opening = None;
    let reason = poll_fn(|cx| turn(&mut connection, &mut requests, &mut opening, cx)).await;
    tracing::info!(reason, "the link ended");
    closing.send_replace(Some(reason));
}

/// One round: open what is asked for, move bytes, repeat until nothing moves.
fn turn(
    connection: &mut Connection<impl AsyncRead + AsyncWrite + Unpin>,
    requests: &mut mpsc::Receiver<OpenReply>,
    opening: &mut Option<OpenReply>,
    cx: &mut Context<'_>,
) -> Poll<String> {
    loop {
        if opening.is_none() {
            match requests.poll_recv(cx) {
                Poll::Ready(Some(reply)) => *opening = Some(reply),
                Poll::Ready(None) => return Poll::Ready("it was hung up".into()),
                Poll::Pending => {}
            }
        }
        if opening.is_some()
            && let Poll::Ready(opened) = connection.poll_new_outbound(cx)
            && let Some(reply) = opening.take()
        {
            let _ = reply.send(opened.map_err(|e| LinkError::Closed(e.to_string())));
            continue;
        }
        match connection.poll_next_inbound(cx) {
            // The agent has no business opening streams: dropping resets it.
            Poll::Ready(Some(Ok(stream))) => drop(stream),
            Poll::Ready(Some(Err(e))) => return Poll::Ready(describe(&e)),
            Poll::Ready(None) => return Poll::Ready("the agent hung up".into()),
            Poll::Pending => return Poll::Pending,
        }
    }
}

fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Closed => "its connection ended".into(),
        other => format!("the multiplexer failed: {other}"),
    }
}
