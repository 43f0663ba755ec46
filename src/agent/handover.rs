//! How `attach` gives its stdin and stdout to `serve`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::net::UnixStream;

use super::descriptors;

/// Goes with the descriptors: a message needs a byte.
const GREETING: u8 = b'A';

/// Hands over both descriptors.
pub fn send(socket: impl AsFd, fds: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    descriptors::send(socket, &[GREETING], &fds)
}

/// Takes the two descriptors that [`send`] sent.
pub async fn receive(socket: &UnixStream) -> io::Result<[OwnedFd; 2]> {
    socket.async_io(Interest::READABLE, || receive_now(socket)).await
}

fn receive_now(socket: impl AsFd) -> io::Result<[OwnedFd; 2]> {
    let mut byte = [0];
    let (count, fds) = descriptors::receive(socket, &mut byte)?;
    let wrong = |_| io::Error::new(io::ErrorKind::InvalidData, "no descriptors were handed over");
    if count == 1 && byte == [GREETING] {
        return fds.try_into().map_err(wrong);
    }
    Err(wrong(fds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[tokio::test(flavor = "current_thread")]
    async fn descriptors_arrive_as_they_were_sent() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (read, write) = io::pipe().unwrap();
        send(&ours, [read.as_fd(), write.as_fd()]).unwrap();
        let [input, output] = receive(&theirs).await.unwrap();
        std::fs::File::from(output).write_all(b"x").unwrap();
        let mut got = [0];
        std::fs::File::from(input).read_exact(&mut got).unwrap();
        assert_eq!(&got, b"x");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn bytes_without_descriptors_are_refused() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.try_write(b"A").unwrap();
        let error = receive(&theirs).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
