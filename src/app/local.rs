//! `--local`: the agent as a child of this process, for one request on this
//! host's own kernel, with the caller's rights. No machine is touched.

use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use super::Refusal;
use super::context::agent_for;
use super::session::Connection;
use crate::host;
use crate::machine::config::Arch;
use crate::protocol::hello::{Hello, PROTOCOL, Scan};

/// How long the agent may take to greet: it only has to be started.
const GREETING: Duration = Duration::from_secs(30);

/// This host, with what finds the agent.
#[derive(Debug, Clone)]
pub struct Local {
    /// This program: the agent is beside it.
    pub program: PathBuf,
    /// An agent to use instead.
    pub agent: Option<PathBuf>,
}

impl Local {
    /// Starts an agent; it ends with the connection and what runs over it.
    pub fn connection(&self) -> anyhow::Result<Connection> {
        if !host::HAS_NAMESPACES {
            let text = "--local needs a Linux host: this system's kernel has no namespaces";
            return Err(Refusal::new(text)
                .hint("Leave --local out: the command then runs in a machine")
                .into());
        }
        let agent = agent_for(self.agent.as_deref(), &self.program, Arch::host())?;
        let mut child =
            start(&agent).with_context(|| format!("starting the agent \"{}\"", agent.display()))?;
        let (Some(writer), Some(reader)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(anyhow!("the agent has no streams"));
        };
        let reader = greeted(reader).with_context(|| format!("asking \"{}\"", agent.display()))?;
        Ok(Connection::new(reader, writer))
    }
}

/// In a process group of its own: keys typed here are signals to this process,
/// which passes them on.
fn start(agent: &Path) -> io::Result<Child> {
    let mut command = Command::new(agent);
    host::own_group(&mut command);
    command.arg("local").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

/// What comes behind the agent's greeting.
fn greeted(stdout: ChildStdout) -> anyhow::Result<Box<dyn Read + Send>> {
    let (done, greeting) = mpsc::channel();
    thread::Builder::new()
        .name("greeting".to_owned())
        .spawn(move || drop(done.send(scan(stdout))))?;
    let late = || anyhow!("no greeting came within {} s", GREETING.as_secs());
    let (hello, reader) = greeting.recv_timeout(GREETING).map_err(|_| late())??;
    if hello.protocol == PROTOCOL {
        return Ok(reader);
    }
    let text = format!("the agent speaks protocol {}, this nsvm speaks {PROTOCOL}", hello.protocol);
    Err(Refusal::new(text).hint("Install nsvm and nsvm-agent of the same release").into())
}

fn scan(mut stdout: ChildStdout) -> anyhow::Result<(Hello, Box<dyn Read + Send>)> {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stdout.read(&mut buffer)? {
            0 => return Err(anyhow!("it ended without a greeting")),
            count => seen.extend_from_slice(&buffer[..count]),
        }
        match Hello::scan(&seen) {
            Scan::Incomplete => {}
            Scan::NotAnAgent(reason) => return Err(anyhow!(reason)),
            Scan::Found(hello, used) => {
                let rest = Cursor::new(seen.split_off(used));
                return Ok((*hello, Box::new(rest.chain(stdout))));
            }
        }
    }
}
