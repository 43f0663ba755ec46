//! `nsvm-agent dial PORT`: a program whose stdin and stdout are a connection to a
//! TCP port of this system's own loopback. It is what the host's `forward` runs,
//! as the machine's user.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use crate::protocol::CONNECTED;

/// A loopback answers at once, if only to refuse.
const PATIENCE: Duration = Duration::from_secs(10);

/// Copied at once.
const CHUNK: usize = 64 * 1024;

/// Ends when the other end has said all; an error: nobody listens there.
pub fn dial(port: NonZeroU16) -> io::Result<()> {
    let stream = connect(port.get()).map_err(|e| {
        io::Error::new(e.kind(), format!("connecting to port {port} of the machine: {e}"))
    })?;
    // Not those of std, which wait for the end of a line.
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    stdout.write_all(&[CONNECTED])?;
    let up = stream.try_clone()?;
    thread::Builder::new().name("up".into()).spawn(move || {
        // Whatever ended it, nothing more will come.
        drop(copy(stdin, &up));
        drop(up.shutdown(Shutdown::Write));
    })?;
    copy(&stream, stdout)
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let to = |ip: IpAddr| TcpStream::connect_timeout(&SocketAddr::new(ip, port), PATIENCE);
    to(Ipv4Addr::LOCALHOST.into()).or_else(|e| to(Ipv6Addr::LOCALHOST.into()).map_err(|_| e))
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_that_listens_on_either_loopback_is_found() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut here = connect(port).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        here.write_all(b"x").unwrap();
        let mut byte = [0];
        there.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        drop((here, there, listener));
        let refused = dial(NonZeroU16::new(port).unwrap()).unwrap_err();
        assert!(refused.to_string().contains(&format!("port {port} of the machine")), "{refused}");
    }
}
