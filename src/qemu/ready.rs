//! The host's end of the guest's virtio port that says "sshd listens", and by
//! which a frozen guest learns whose it is (`protocol::frozen`).

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::endpoint;
use crate::protocol::frozen::{FAILED, FROZEN, Owner, READY};

/// QEMU listens on its sockets within milliseconds of its start.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A guest that writes more than this before the word is not ours.
const MAX_NOISE: usize = 4096;

/// Blocks until the guest says that it is ready. Fails when QEMU closes the
/// socket or the guest writes something else.
pub fn wait(socket: &Path) -> io::Result<()> {
    hear(&mut connect(socket)?, READY)
}

/// A guest that was told to freeze, and has not said yet that it has.
pub struct Freezing(Socket);

impl Freezing {
    /// Connects before anything is said.
    pub fn of(socket: &Path) -> io::Result<Self> {
        connect(socket).map(Self)
    }

    /// Blocks until it is frozen, or for this long. The connection stays open
    /// until the result is dropped.
    pub fn wait(mut self, patience: Duration) -> io::Result<Self> {
        self.0.set_read_timeout(Some(patience))?;
        hear(&mut self.0, FROZEN)?;
        Ok(self)
    }
}

/// Tells a copy of a frozen guest whose it is, and blocks until it is, or for
/// this long (between two of its words). `InvalidData` has the guest's own reason.
pub fn give(socket: &Path, owner: &Owner, patience: Duration) -> io::Result<()> {
    let mut stream = connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(owner.line().as_bytes())?;
    hear(&mut stream, READY)
}

fn hear(stream: &mut impl Read, word: &str) -> io::Result<()> {
    let mut seen = Vec::new();
    let mut buffer = [0; 64];
    while seen.len() < MAX_NOISE {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        seen.extend_from_slice(&buffer[..n]);
        if seen.windows(word.len()).any(|window| window == word.as_bytes()) {
            return Ok(());
        }
        if let Some(reason) = failure(&seen) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// What a guest says that could not do what it was told. Guest data.
fn failure(seen: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(seen);
    let (reason, _) = text.split_once(FAILED)?.1.split_once('\n')?;
    Some(reason.chars().filter(|c| !c.is_control()).collect())
}

fn connect(path: &Path) -> io::Result<Socket> {
    let end = Instant::now() + CONNECT_PATIENCE;
    loop {
        match endpoint::connect(path) {
            Ok(socket) => return Ok(socket),
            Err(e) if Instant::now() >= end => return Err(e),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    fn guest_writes(bytes: &'static [u8]) -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("ready.sock");
        let listener = UnixListener::bind(&path)?;
        let guest = std::thread::spawn(move || listener.accept()?.0.write_all(bytes));
        let result = wait(&path);
        guest.join().expect("the guest does not panic")?;
        result
    }

    #[test]
    fn only_the_word_counts() {
        assert!(guest_writes(b"ready\n").is_ok());
        assert!(guest_writes(b"noise first\nready\n").is_ok());
        let failed = guest_writes(b"failed: no\x1b key\n").unwrap_err();
        assert_eq!(
            (failed.kind(), failed.to_string()),
            (io::ErrorKind::InvalidData, "no key".into())
        );
        assert_eq!(guest_writes(b"rea").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(guest_writes(&[b'x'; 5000]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
