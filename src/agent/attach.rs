//! `nsvm-agent attach`: gives its stdin and stdout to the resident agent and
//! waits until that is done with them.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::handover;

/// How long the agent's service may take to start.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often to look for its socket meanwhile.
const INTERVAL: Duration = Duration::from_millis(20);

/// Serves one link; returns when the agent has closed it.
pub fn attach(socket: &Path) -> io::Result<()> {
    let mut agent = connect(socket)?;
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let sent = handover::send(&agent, [stdin.as_fd(), stdout.as_fd()]);
    let mut refusal = Vec::new();
    let read = agent.read_to_end(&mut refusal);
    // What the agent said explains best why either failed.
    if refusal.is_empty() {
        return sent.and(read).map(drop);
    }
    Err(io::Error::other(String::from_utf8_lossy(&refusal).into_owned()))
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let end = Instant::now() + DEADLINE;
    loop {
        match UnixStream::connect(socket) {
            Err(e) if is_starting(&e) && Instant::now() < end => sleep(INTERVAL),
            Err(e) => {
                let text = format!("cannot reach the agent at \"{}\": {e}", socket.display());
                return Err(io::Error::new(e.kind(), text));
            }
            connected => return connected,
        }
    }
}

fn is_starting(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
