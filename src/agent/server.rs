//! `nsvm-agent serve`: the resident agent.
//!
//! One thread and no timers: it costs nothing while nothing is asked of it.

use std::fs::{self, Permissions};
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{LocalSet, spawn_local};
use yamux::{Config, Connection, Mode};

use super::cgroup::Cgroups;
use super::handover;
use super::launch::launcher;
use super::link::Link;
use super::session::{self, Service};
use super::sys;
use crate::protocol::frame::{HEADER, MAX_DATA};

/// How long a peer may take to hand over its descriptors.
const HANDOVER: Duration = Duration::from_secs(5);

/// Serves links until the process is ended. Returns only on errors.
pub fn serve(socket: &Path, state: &Path) -> io::Result<()> {
    sys::default_signals();
    sys::ignore_broken_pipes();
    // Of every program started from here; a login sets the same.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    launcher::install()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = listen(socket)?;
        one_thread()?;
        let service = Service::of_system(state);
        look_after_groups(&service);
        accept(listener, Rc::new(service)).await
    })
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

async fn accept(listener: UnixListener, service: Rc<Service>) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((peer, _)) => {
                spawn_local(greet(peer, Rc::clone(&service)));
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
async fn greet(mut peer: UnixStream, service: Rc<Service>) {
    let served = async {
        admit(&peer)?;
        let timely = tokio::time::timeout(HANDOVER, handover::receive(&peer)).await;
        let [input, output] = timely.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        run(&mut peer, input, output, service).await
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
    service: Rc<Service>,
) -> io::Result<()> {
    let link = Link::new(input, output)?;
    link.output().borrow_mut().push(&service.about.hello().line());
    let mut word = [0; 1];
    tokio::select! {
        // `attach` was killed: nobody keeps the channel for us.
        _ = peer.read(&mut word) => {}
        () = drive(link, service) => {}
    }
    Ok(())
}

/// Runs the multiplexer until the link ends. Sessions notice by themselves.
async fn drive(link: Link, service: Rc<Service>) {
    let output = link.output();
    let mut config = Config::default();
    // One frame of ours in one of yamux.
    config.set_split_send_size(HEADER + MAX_DATA);
    let mut connection = Connection::new(link, config, Mode::Server);
    loop {
        let next = poll_fn(|cx| {
            let next = connection.poll_next_inbound(cx);
            match output.borrow_mut().poll_flush(cx) {
                Poll::Ready(Err(e)) => Poll::Ready(Some(Err(e.into()))),
                _ => next,
            }
        });
        let Some(Ok(stream)) = next.await else { return };
        let service = Rc::clone(&service);
        spawn_local(async move { session::serve(stream, &service).await });
    }
}
