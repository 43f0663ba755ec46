//! Where QEMU listens for this program. Each endpoint has a place, a path below
//! the machine's runtime directory: there is the socket itself, or where that
//! cannot be, a file that says where QEMU listens instead.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::port::free_port;
use crate::fs::{Access, write_atomic};
use crate::host;

/// Windows' word for a directory whose file system takes no sockets.
const WSAEINVAL: i32 = 10022;

/// On this host a connection is there at once.
const CONNECTING: Duration = Duration::from_secs(2);

/// Longer than any line that names an endpoint.
const LINE_MAX: u64 = 4096;

/// What QEMU is told to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket in a directory that lets only its owner in.
    Socket(PathBuf),
    /// A port on 127.0.0.1, which any user of this host may connect to.
    Loopback(u16),
}

impl<T: Into<PathBuf>> From<T> for Endpoint {
    fn from(path: T) -> Self {
        Self::Socket(path.into())
    }
}

/// Which kinds of endpoints may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    Socket,
    /// For tests under Wine, which has no Unix sockets.
    Loopback,
}

/// Decides where QEMU shall listen, so that [`connect`] finds it by `place`.
pub fn prepare(place: &Path, kind: Kind) -> io::Result<Endpoint> {
    let endpoint = match kind {
        Kind::Loopback => Endpoint::Loopback(free_port(None)?),
        Kind::Socket if host::SOCKETS_FIT_EVERYWHERE => Endpoint::Socket(place.to_owned()),
        Kind::Socket => Endpoint::Socket(first_that_takes(place, elsewhere(place)?, try_bind)?),
    };
    match &endpoint {
        Endpoint::Loopback(port) => leave_word(place, &format!("{}:{port}", Ipv4Addr::LOCALHOST))?,
        Endpoint::Socket(path) if path != place => leave_word(place, &path.to_string_lossy())?,
        Endpoint::Socket(_) => {}
    }
    Ok(endpoint)
}

/// Connects to what listens at `place`. Does not wait for one that has others to
/// serve: those are errors, as is whatever takes longer than [`CONNECTING`].
pub fn connect(place: &Path) -> io::Result<Socket> {
    match find(place)? {
        Endpoint::Socket(path) => {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.connect_timeout(&SockAddr::unix(path)?, CONNECTING)?;
            Ok(socket)
        }
        Endpoint::Loopback(port) => {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            socket.connect_timeout(&address.into(), CONNECTING)?;
            Ok(socket)
        }
    }
}

/// A place of the same name in another directory of this user's.
fn elsewhere(place: &Path) -> io::Result<PathBuf> {
    let name = |path: Option<&Path>| {
        let name = path.and_then(Path::file_name).unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let dir = host::short_runtime_dir(&name(place.parent()));
    host::create_private_dir(&dir)?;
    Ok(dir.join(name(Some(place))))
}

/// `place`, or where that cannot hold a socket the `other` one.
fn first_that_takes(
    place: &Path,
    other: PathBuf,
    bind: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    match bind(place) {
        Ok(()) => Ok(place.to_owned()),
        Err(e) if e.raw_os_error() == Some(WSAEINVAL) => bind(&other).map(|()| other),
        Err(e) => Err(e),
    }
}

/// Makes a socket at `path` and removes it.
fn try_bind(path: &Path) -> io::Result<()> {
    forget(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    drop(socket);
    forget(path)
}

fn forget(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn leave_word(place: &Path, text: &str) -> io::Result<()> {
    write_atomic(place, format!("{text}\n").as_bytes(), Access::Owner)
}

fn find(place: &Path) -> io::Result<Endpoint> {
    let mut text = String::new();
    let read = File::open(place).and_then(|file| file.take(LINE_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(parse(text.trim_end_matches('\n'))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(e),
        // No system opens a socket as a file.
        Err(_) => Ok(Endpoint::Socket(place.to_owned())),
    }
}

fn parse(text: &str) -> Endpoint {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip() == Ipv4Addr::LOCALHOST => Endpoint::Loopback(address.port()),
        _ => Endpoint::Socket(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    #[test]
    fn a_directory_that_takes_no_sockets_is_passed_over() {
        let (here, there) = (Path::new("here"), PathBuf::from("there"));
        let einval = |_: &Path| Err(io::Error::from_raw_os_error(WSAEINVAL));
        let only_there = |path: &Path| if path == here { einval(path) } else { Ok(()) };
        let first =
            |bind: &dyn Fn(&Path) -> io::Result<()>| first_that_takes(here, there.clone(), bind);
        assert_eq!(first(&|_| Ok(())).unwrap(), here);
        assert_eq!(first(&only_there).unwrap(), there);
        assert_eq!(first(&einval).unwrap_err().raw_os_error(), Some(WSAEINVAL));
        let denied = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(first(&denied).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_word_left_at_the_place_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("qmp.sock");
        assert_eq!(connect(&place).unwrap_err().kind(), io::ErrorKind::NotFound);
        let Endpoint::Loopback(port) = prepare(&place, Kind::Loopback).unwrap() else {
            panic!("not on loopback")
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let client = connect(&place).unwrap();
        listener.accept().unwrap().0.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        (&client).read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
        leave_word(&place, "/elsewhere/qmp.sock").unwrap();
        assert_eq!(find(&place).unwrap(), Endpoint::from("/elsewhere/qmp.sock"));
        // No word leads to another host.
        assert_eq!(parse("10.0.0.1:22"), Endpoint::from("10.0.0.1:22"));
    }

    /// Who is never let in must not hang for it: the kernel queues a few, and a
    /// blocking connect waits behind them for ever.
    #[cfg(unix)]
    #[test]
    fn a_listener_that_has_others_to_serve_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("busy.sock");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&place).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let mut waiting = Vec::new();
        let refused = (0..10).find_map(|_| match connect(&place) {
            Ok(socket) => {
                waiting.push(socket);
                None
            }
            Err(e) => Some(e),
        });
        assert!(refused.is_some(), "{} were let in", waiting.len());
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_is_its_own_place() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("qmp.sock");
        assert_eq!(prepare(&place, Kind::Socket).unwrap(), Endpoint::Socket(place.clone()));
        let _listener = std::os::unix::net::UnixListener::bind(&place).unwrap();
        assert!(connect(&place).is_ok());
    }
}
