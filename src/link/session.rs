//! An authenticated SSH session: connect, pin the host key, log in.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use ssh2::{MethodType, Session};

use super::{LinkError, Target};

/// AES-GCM is two to three times as fast here as libssh2's own first choice,
/// the portable chacha20.
const CIPHERS: &str =
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr";
const KEY_EXCHANGE: &str = "curve25519-sha256,curve25519-sha256@libssh.org";

/// A session and its socket (a second handle, for polling).
pub(super) struct Connected {
    pub session: Session,
    pub socket: TcpStream,
}

/// Whether an SSH server greets on `address` within `patience`.
///
/// QEMU's user network accepts a forwarded connection before the guest
/// listens, so a connection that opens proves nothing: only a banner does.
pub fn answers_as_ssh(address: SocketAddr, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    let Ok(mut socket) = TcpStream::connect_timeout(&address, patience) else {
        return false;
    };
    let rest = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut start = [0; 4];
    socket.set_read_timeout(Some(rest)).is_ok()
        && socket.read_exact(&mut start).is_ok()
        && start == *b"SSH-"
}

/// Connects, checks the host key *before* anything secret is said, logs in.
/// The session comes back in blocking mode.
pub(super) fn connect(target: &Target, end: Instant) -> Result<Connected, LinkError> {
    let connecting = |source| LinkError::Connect { address: target.address, source };
    let tcp = TcpStream::connect_timeout(&target.address, left(end)).map_err(connecting)?;
    tcp.set_nodelay(true).map_err(connecting)?;
    let socket = tcp.try_clone().map_err(connecting)?;
    let mut session = Session::new().map_err(during("setting up"))?;
    for (kind, names) in [
        (MethodType::Kex, KEY_EXCHANGE),
        (MethodType::HostKey, "ssh-ed25519"),
        (MethodType::CryptCs, CIPHERS),
        (MethodType::CryptSc, CIPHERS),
    ] {
        session.method_pref(kind, names).map_err(during("setting up"))?;
    }
    session.set_tcp_stream(tcp);
    set_deadline(&session, end);
    session.handshake().map_err(during("shaking hands"))?;
    check_host_key(&session, &target.host_key)?;
    log_in(&session, target)?;
    Ok(Connected { session, socket })
}

fn check_host_key(session: &Session, pinned: &str) -> Result<(), LinkError> {
    let shown = session.host_key().map(|(key, _)| BASE64_STANDARD.encode(key)).unwrap_or_default();
    let wanted = pinned.split_whitespace().nth(1).unwrap_or_default();
    if wanted.is_empty() || shown != wanted {
        return Err(LinkError::HostKey { shown: format!("ssh-ed25519 {shown}") });
    }
    Ok(())
}

fn log_in(session: &Session, target: &Target) -> Result<(), LinkError> {
    match session.userauth_pubkey_memory(&target.user, None, &target.identity, None) {
        Ok(()) => Ok(()),
        // LIBSSH2_ERROR_AUTHENTICATION_FAILED, LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED
        Err(e) if matches!(e.code(), ssh2::ErrorCode::Session(-18 | -19)) => {
            Err(LinkError::KeyRefused { user: target.user.clone() })
        }
        Err(e) => Err(during("logging in")(e)),
    }
}

/// What one remote command gave.
#[derive(Debug)]
pub(super) struct CommandResult {
    pub status: i32,
    pub stderr: String,
}

/// Runs `command` with `input` on its stdin and waits for its end.
pub(super) fn run(
    session: &Session,
    command: &str,
    input: &[u8],
    end: Instant,
) -> Result<CommandResult, LinkError> {
    let doing = "running a command";
    set_deadline(session, end);
    let mut channel = session.channel_session().map_err(during(doing))?;
    channel.exec(command).map_err(during(doing))?;
    let io = |e: std::io::Error| LinkError::Closed(format!("while {doing}: {e}"));
    channel.write_all(input).map_err(io)?;
    channel.send_eof().map_err(during(doing))?;
    std::io::copy(&mut Read::by_ref(&mut channel).take(MAX_OUTPUT), &mut std::io::sink())
        .map_err(io)?;
    let stderr = read_stderr(&channel);
    channel.wait_close().map_err(during(doing))?;
    let status = channel.exit_status().map_err(during(doing))?;
    Ok(CommandResult { status, stderr })
}

/// As much of a command's output as we are willing to read: guest data.
const MAX_OUTPUT: u64 = 64 * 1024;

/// The channel's stderr so far, cleaned for a terminal.
pub(super) fn read_stderr(channel: &ssh2::Channel) -> String {
    let mut bytes = Vec::new();
    let _ = channel.stderr().take(MAX_OUTPUT).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().filter(|c| !c.is_control()).collect()
}

/// Bounds each following blocking call by what is left until `end`.
pub(super) fn set_deadline(session: &Session, end: Instant) {
    // 0 would mean "for ever".
    let millis = u32::try_from(left(end).as_millis()).unwrap_or(u32::MAX).max(1);
    session.set_timeout(millis);
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

pub(super) fn during(during: &'static str) -> impl Fn(ssh2::Error) -> LinkError {
    move |source| LinkError::Ssh { during, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libssh2_was_built_with_the_algorithms_we_need() {
        let session = Session::new().unwrap();
        let exchange = session.supported_algs(MethodType::Kex).unwrap();
        assert!(exchange.contains(&"curve25519-sha256"), "{exchange:?}");
        let keys = session.supported_algs(MethodType::HostKey).unwrap();
        assert!(keys.contains(&"ssh-ed25519"), "{keys:?}");
        let ciphers = session.supported_algs(MethodType::CryptCs).unwrap();
        assert!(ciphers.contains(&"aes128-gcm@openssh.com"), "{ciphers:?}");
    }

    #[test]
    fn a_port_that_accepts_and_says_nothing_is_no_ssh_server() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(!answers_as_ssh(address, Duration::from_millis(50)));
        let server = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut peer, _) = listener.accept().unwrap();
                let _ = peer.write_all(b"SSH-2.0-x\r\n");
            }
        });
        assert!(answers_as_ssh(address, Duration::from_secs(5)));
        drop(server);
    }
}
