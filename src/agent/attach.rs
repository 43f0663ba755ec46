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
    handover::send(&agent, [stdin.as_fd(), stdout.as_fd()])?;
    let mut refusal = String::new();
    agent.read_to_string(&mut refusal)?;
    if refusal.is_empty() { Ok(()) } else { Err(io::Error::other(refusal)) }
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
