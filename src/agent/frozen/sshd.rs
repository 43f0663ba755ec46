//! The guest's sshd: the process that listens on port 22. Told to begin anew it
//! executes itself, and so has nothing from before: neither the host key nor
//! the random numbers of the guest that was saved.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// sshd listens again within this time, translated and on a busy host.
const LISTENING: Duration = Duration::from_secs(60);

/// Between two looks at processes and sockets, which tell nobody.
const POLL: Duration = Duration::from_millis(2);

pub struct Sshd {
    pid: i32,
    /// Inodes of the sockets that it listens on.
    sockets: Vec<u64>,
}

impl Sshd {
    /// The one process that listens there and is an sshd: elsewhere systemd
    /// listens, and starts one for each connection.
    pub fn find() -> io::Result<Self> {
        let sockets = listening()?;
        let is_holder = |pid: &i32| holds(*pid, &sockets) && name(*pid) == "sshd";
        match processes()?.into_iter().find(is_holder) {
            Some(pid) => Ok(Self { pid, sockets }),
            None => Err(io::Error::other("no sshd of this guest listens on port 22 itself")),
        }
    }

    /// Waits until nobody is logged in by it; after `patience` they are ended, for as
    /// long again.
    pub fn end_sessions(&self, patience: Duration) -> io::Result<()> {
        let end = Instant::now() + patience;
        loop {
            let sessions = self.sessions()?;
            if sessions.is_empty() {
                return Ok(());
            }
            if Instant::now() >= end + patience {
                return Err(io::Error::other("a session of its sshd does not end"));
            }
            if Instant::now() >= end {
                for pid in sessions {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
            std::thread::sleep(POLL * 10);
        }
    }

    /// `sshd-session` and `sshd-auth`, or `sshd` before OpenSSH 9.8.
    fn sessions(&self) -> io::Result<Vec<i32>> {
        let all = processes()?.into_iter();
        Ok(all.filter(|pid| *pid != self.pid && name(*pid).starts_with("sshd")).collect())
    }

    /// From now on it answers nobody.
    pub fn stop(&self) -> io::Result<()> {
        Ok(kill(Pid::from_raw(self.pid), Signal::SIGSTOP)?)
    }

    /// Returns when it listens on other sockets than before. The first thing it hears when
    /// it goes on is that it has to: those who came meanwhile are not answered.
    pub fn begin_anew(self) -> io::Result<()> {
        let pid = Pid::from_raw(self.pid);
        kill(pid, Signal::SIGHUP)?;
        kill(pid, Signal::SIGCONT)?;
        let end = Instant::now() + LISTENING;
        loop {
            let now = listening()?;
            if !now.is_empty() && now.iter().all(|socket| !self.sockets.contains(socket)) {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(io::Error::other("its sshd does not listen again"));
            }
            std::thread::sleep(POLL);
        }
    }
}

/// The inodes of sockets that listen on port 22.
fn listening() -> io::Result<Vec<u64>> {
    let four = fs::read_to_string("/proc/net/tcp")?;
    // Absent where there is no IPv6.
    let six = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    Ok(four.lines().chain(six.lines()).filter_map(inode).collect())
}

/// Of a line of `/proc/net/tcp`, if it is one of port 22 (0x16) in the state
/// LISTEN (0x0A).
fn inode(line: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, state) = (words.get(1)?, words.get(3)?);
    if !local.ends_with(":0016") || *state != "0A" {
        return None;
    }
    words.get(9)?.parse().ok()
}

fn processes() -> io::Result<Vec<i32>> {
    let names = fs::read_dir("/proc")?.flatten().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).collect())
}

fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn holds(pid: i32, sockets: &[u64]) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| {
        let inode = link.to_str().and_then(|l| l.strip_prefix("socket:[")?.strip_suffix(']'));
        inode.and_then(|inode| inode.parse().ok()).is_some_and(|inode| sockets.contains(&inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listeners_on_port_22_count() {
        let line = |local: &str, state: &str| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 1234 1 x"
            )
        };
        assert_eq!(inode(&line("00000000:0016", "0A")), Some(1234));
        assert_eq!(inode(&line("00000000000000000000000000000000:0016", "0A")), Some(1234));
        assert_eq!(inode(&line("00000000:0016", "01")), None);
        assert_eq!(inode(&line("00000000:1600", "0A")), None);
        assert_eq!(inode("  sl  local_address rem_address   st tx_queue"), None);
    }

    #[test]
    fn a_process_is_found_by_its_socket() {
        use std::os::fd::AsRawFd;
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode: u64 = link.to_str().unwrap()[8..].trim_end_matches(']').parse().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(holds(own, &[inode]));
        assert!(!holds(own, &[]) && processes().unwrap().contains(&own));
    }
}
