//! `nsvm-agent serve`: the resident agent.
//!
//! One thread and no timers: it costs nothing while nothing is asked of it.

use std::cell::Cell;
use std::fs::{self, Permissions};
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures::io::AsyncReadExt as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{LocalSet, spawn_local, yield_now};
use yamux::{Config, Connection, Mode};

use super::cgroup::Cgroups;
use super::handover;
use super::launch::launcher;
use super::link::{Link, Room};
use super::link_port;
use super::resumable::{Registry, Way};
use super::session::{self, KernelOf, Service};
use super::sys;
use crate::protocol::frame::{self, Decoder, MAX_DATA};
use crate::protocol::hello::Hello;
use crate::protocol::resume::{self, Opening, PATIENCE, TAG};

/// How long a peer may take to hand over its descriptors.
const HANDOVER: Duration = Duration::from_secs(5);

/// Of the processor, in nanoseconds. All commands' words pass through this process: while
/// another program fills its output on the one processor of a guest, this brings a word
/// there and back in 1.8 instead of 4.5 ms.
const SLICE: u64 = 100_000;

/// Serves links until the process is ended. Returns only on errors.
pub fn serve(socket: &Path, state: &Path) -> io::Result<()> {
    sys::default_signals();
    sys::ignore_broken_pipes();
    // Of every program started from here; a login sets the same.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    launcher::install()?;
    // Not worth more than a word: without them all goes on, slower.
    if let Err(e) = sys::take_short_turns(SLICE) {
        eprintln!("nsvm-agent: its turns stay as they are: {e}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = listen(socket)?;
        one_thread()?;
        let service = Service::of_system(state, KernelOf::Guest);
        look_after_groups(&service);
        let desk = Desk { service, streams: Registry::new(PATIENCE), served: Rc::default() };
        let desk = Rc::new(desk);
        spawn_local(link_port::serve(Rc::clone(&desk)));
        accept(listener, desk).await
    })
}

/// What all links share.
pub struct Desk {
    service: Service,
    streams: Registry,
    /// Counts, by its references, the streams that are being served.
    served: Rc<()>,
}

impl Desk {
    /// One reference is this one's own.
    fn room(&self) -> Room {
        if Rc::strong_count(&self.served) > 2 { Room::Narrow } else { Room::Wide }
    }

    pub fn hello(&self) -> Hello {
        let busy = Rc::strong_count(&self.served) > 1;
        Hello { busy, ..self.service.about.hello().clone() }
    }
}

/// Removes the control groups of commands that an earlier agent ran, and of
/// named namespaces that are gone, as soon as nothing is in them.
fn look_after_groups(service: &Service) {
    // Without them there are none either.
    let Ok(cgroups) = Cgroups::of_system() else { return };
    let commands = cgroups.left_over();
    for group in commands.into_iter().chain(service.named.left_over(&cgroups)) {
        spawn_local(async move {
            if let Err(e) = group.remove_when_empty().await {
                eprintln!("nsvm-agent: cannot remove {}: {e}", group.path().display());
            }
        });
    }
}

/// unshare(2) and fork(2) rely on it.
pub fn one_thread() -> io::Result<()> {
    match sys::threads()? {
        1 => Ok(()),
        more => Err(io::Error::other(format!("this process has {more} threads instead of one"))),
    }
}

/// The socket admits its owner alone, and lies in a directory that does so.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = socket.parent()
        && !dir.exists()
    {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    match fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(socket);
    rustix::process::umask(before);
    listener
}

async fn accept(listener: UnixListener, desk: Rc<Desk>) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((peer, _)) => {
                spawn_local(greet(peer, Rc::clone(&desk)));
            }
            Err(e) => {
                eprintln!("nsvm-agent: cannot accept a connection: {e}");
                // Out of descriptors, most likely: some will be closed.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Takes a peer's descriptors and serves the link. The peer waits for the
/// end of its connection; what it reads before that is an error to tell.
async fn greet(mut peer: UnixStream, desk: Rc<Desk>) {
    let served = async {
        admit(&peer)?;
        let timely = tokio::time::timeout(HANDOVER, handover::receive(&peer)).await;
        let [input, output] = timely.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        run(&mut peer, input, output, desk).await
    };
    if let Err(e) = served.await {
        let _ = peer.write_all(e.to_string().as_bytes()).await;
    }
}

/// Only the user that this agent runs as, root that is.
fn admit(peer: &UnixStream) -> io::Result<()> {
    let uid = peer.peer_cred()?.uid();
    if uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let text = format!("user {uid} may not use this agent");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

async fn run(
    peer: &mut UnixStream,
    input: OwnedFd,
    output: OwnedFd,
    desk: Rc<Desk>,
) -> io::Result<()> {
    let link = Link::new(input, output)?;
    link.output().borrow_mut().push(&desk.hello().line());
    let mut word = [0; 1];
    let links = &desk.service.links;
    let number = links.number();
    tokio::select! {
        // `attach` was killed: nobody keeps the channel for us.
        _ = peer.read(&mut word) => {}
        () = links.dead(number) => {}
        () = drive(link, Rc::clone(&desk)) => {}
    }
    Ok(())
}

/// Runs the multiplexer until the link ends. Streams notice by themselves.
pub async fn drive(link: Link, desk: Rc<Desk>) {
    let output = link.output();
    let mut config = Config::default();
    // One frame of ours in one of yamux.
    config.set_split_send_size(resume::HEADER + frame::HEADER + MAX_DATA);
    let mut connection = Connection::new(link, config, Mode::Server);
    let lost = SetAtEnd(Rc::default());
    let share = Rc::new(Cell::new(Room::Wide.share()));
    loop {
        let next = poll_fn(|cx| {
            let room = desk.room();
            share.set(room.share());
            output.borrow_mut().begin_turn(room);
            let next = connection.poll_next_inbound(cx);
            let flushed = output.borrow_mut().poll_flush(cx);
            if output.borrow().has_to_wait() {
                // Ready, but not before the runtime has looked what has arrived.
                let _ = pin!(yield_now()).poll(cx);
            }
            match flushed {
                Poll::Ready(Err(e)) => Poll::Ready(Some(Err(e.into()))),
                _ => next,
            }
        });
        let Some(Ok(stream)) = next.await else { return };
        let (desk, lost, share) = (Rc::clone(&desk), Rc::clone(&lost.0), Rc::clone(&share));
        spawn_local(async move { serve_stream(stream, lost, share, &desk).await });
    }
}

/// Tells the streams of a link why they end, before they do: on the one thread
/// here no stream is polled between this and the end of the connection.
struct SetAtEnd(Rc<Cell<bool>>);

impl Drop for SetAtEnd {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// A stream of plain frames, or one that begins with an opening.
async fn serve_stream(
    mut stream: yamux::Stream,
    lost: Rc<Cell<bool>>,
    share: Rc<Cell<usize>>,
    desk: &Desk,
) {
    let _served = Rc::clone(&desk.served);
    let mut opening = [0; Opening::LENGTH];
    let Ok(first @ 1..) = stream.read(&mut opening).await else { return };
    if opening[0] != TAG {
        let mut decoder = Decoder::default();
        decoder.space()[..first].copy_from_slice(&opening[..first]);
        decoder.filled(first);
        return session::serve(stream, decoder, &desk.service).await;
    }
    if stream.read_exact(&mut opening[first..]).await.is_err() {
        return;
    }
    let Some(opening) = Opening::decode(&opening) else { return };
    if let Some(stream) = desk.streams.open(&opening, Way::new(stream, lost, share)) {
        session::serve(stream, Decoder::default(), &desk.service).await;
    }
}
