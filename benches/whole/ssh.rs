//! OpenSSH's client, set up to be quick: the user's own configuration is not
//! read, one key each side is known, and the algorithms are those a CPU is
//! fastest with. The same for every connection here.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::children::{self, Heed};
use super::machine::{Facts, SHORT};

/// Longer than any guest that listens takes to let somebody in.
const CONNECT_SECONDS: u32 = 20;

/// How to get into a guest.
#[derive(Debug)]
pub struct Ssh {
    options: Vec<String>,
    destination: String,
    port: u16,
    socket: PathBuf,
}

impl Ssh {
    /// The guest that `facts` describe. Its known hosts file and socket lie in
    /// `dir`.
    pub fn of(facts: &Facts, dir: &Path) -> anyhow::Result<Self> {
        let hosts = dir.join("known_hosts");
        fs::write(&hosts, format!("[127.0.0.1]:{} {}\n", facts.port, facts.host_key))?;
        let options = [
            "BatchMode=yes".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            format!("UserKnownHostsFile=\"{}\"", hosts.display()),
            "GlobalKnownHostsFile=none".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "IdentityAgent=none".to_owned(),
            format!("IdentityFile=\"{}\"", facts.identity.display()),
            "PreferredAuthentications=publickey".to_owned(),
            "KexAlgorithms=curve25519-sha256".to_owned(),
            "HostKeyAlgorithms=ssh-ed25519".to_owned(),
            "Ciphers=aes128-gcm@openssh.com".to_owned(),
            format!("ConnectTimeout={CONNECT_SECONDS}"),
            format!("Port={}", facts.port),
        ];
        Ok(Self {
            options: options.into(),
            destination: format!("{}@127.0.0.1", facts.user),
            port: facts.port,
            socket: dir.join("master.sock"),
        })
    }

    /// The command line that goes before the words of the guest's command.
    pub fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-T"]);
        command.args(self.options.iter().flat_map(|option| ["-o", option]));
        command.arg(&self.destination);
        command
    }

    /// Runs words in the guest over a connection of their own.
    pub fn fresh(&self, words: &[&str], limit: Duration) -> anyhow::Result<children::Ran> {
        children::run(self.command().args(words), limit)
    }

    /// Whether a server greets within `limit`.
    pub fn banner(&self, limit: Duration) -> bool {
        let mut greeting = [0; 4];
        let greeted =
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).and_then(|mut stream| {
                stream.set_read_timeout(Some(limit))?;
                stream.read_exact(&mut greeting)
            });
        greeted.is_ok() && greeting == *b"SSH-"
    }

    /// Opens the connection that further ones share.
    pub fn master(&self) -> anyhow::Result<Master<'_>> {
        let master = Master { ssh: self };
        let mut open = master.prefix();
        open.args(["-o", "ControlMaster=yes", "-f", "-N"]).arg(&self.destination);
        children::run(&mut open, SHORT)?;
        Ok(master)
    }
}

/// An open connection, closed when this is dropped.
#[derive(Debug)]
pub struct Master<'a> {
    ssh: &'a Ssh,
}

impl Master<'_> {
    /// `ssh` over this connection; words of the guest's command follow.
    pub fn command(&self) -> Command {
        let mut command = self.prefix();
        command.args(["-o", "ControlMaster=no"]).arg(&self.ssh.destination);
        command
    }

    fn prefix(&self) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-T", "-S"]).arg(&self.ssh.socket);
        command.args(self.ssh.options.iter().flat_map(|option| ["-o", option]));
        command
    }
}

impl Drop for Master<'_> {
    fn drop(&mut self) {
        let exit = &mut self.prefix();
        exit.args(["-O", "exit"]).arg(&self.ssh.destination);
        let _ = children::attempt(exit, SHORT, Heed::Nothing);
    }
}
