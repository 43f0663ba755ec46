//! The host's end of the guest's virtio port that says "sshd listens".

use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use super::endpoint;

/// What the guest's `nsvm-ready.service` writes.
const WORD: &[u8] = b"ready";

/// QEMU listens on its sockets within milliseconds of its start.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A guest that writes more than this before the word is not ours.
const MAX_NOISE: usize = 4096;

/// Blocks until the guest says that it is ready. Fails when QEMU closes the
/// socket or the guest writes something else.
pub fn wait(socket: &Path) -> io::Result<()> {
    let mut stream = connect(socket)?;
    let mut seen = Vec::new();
    let mut buffer = [0; 64];
    while seen.len() < MAX_NOISE {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        seen.extend_from_slice(&buffer[..n]);
        if seen.windows(WORD.len()).any(|window| window == WORD) {
            return Ok(());
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn connect(path: &Path) -> io::Result<socket2::Socket> {
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
        assert_eq!(guest_writes(b"rea").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(guest_writes(&[b'x'; 5000]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
