//! Running one command in a machine: find its supervisor, open a session.

use std::io;
use std::sync::Arc;

use anyhow::anyhow;

use super::session::{self, Connection};
use super::{Context, Refusal, start};
use crate::control::client::{Client, nobody_listens};
use crate::control::message::{Reply, Request};
use crate::machine::config::MachineConfig;
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::protocol::outcome::Outcome;
use crate::protocol::request::{ExecRequest, UserSpec};

/// Runs `request` in the machine on this process's own streams, as its user unless the request names one.
pub fn run(
    context: &Context,
    name: &MachineName,
    mut request: ExecRequest,
) -> anyhow::Result<Outcome> {
    let config = context.store.load(name)?;
    request.user.get_or_insert_with(|| default_user(&config));
    let stream = Arc::new(open(context, name)?.into_stream());
    let connection = Connection {
        reader: Box::new(SharedStream(stream.clone())),
        writer: Box::new(SharedStream(stream)),
    };
    session::run_here(connection, request)
}

fn default_user(config: &MachineConfig) -> UserSpec {
    let user = if config.rootful { "root" } else { &config.ssh.username };
    UserSpec { user: user.to_owned(), group: None }
}

/// A session with the machine's agent, granted.
fn open(context: &Context, name: &MachineName) -> anyhow::Result<Client> {
    let mut client = connect(context, name)?;
    match client.reply() {
        Ok(Reply::Done) => Ok(client),
        Ok(Reply::Failed { message, hint }) => Err(Refusal { message, hint }.into()),
        Ok(Reply::Event { .. }) => Err(anyhow!("the supervisor answered with an event")),
        Err(e) => Err(anyhow!(e).context("asking the supervisor for a session")),
    }
}

fn connect(context: &Context, name: &MachineName) -> anyhow::Result<Client> {
    let socket = context.store.paths(name).control_socket();
    let error = match Client::ask(&socket, &Request::Session) {
        Ok(client) => return Ok(client),
        Err(e) => e,
    };
    if !nobody_listens(&error) {
        return Err(anyhow!(error).context(format!("connecting to the supervisor of \"{name}\"")));
    }
    match context.store.status(name) {
        // The VM outlived its supervisor: a new one finds it.
        Status::Running => start::spawn_supervisor(context, name, None)?,
        Status::Broken { reasons } => {
            return Err(Refusal::new(format!("machine \"{name}\": {}", reasons.join("; "))).into());
        }
        _ => return Err(not_running(name).into()),
    }
    Ok(Client::ask(&socket, &Request::Session)?)
}

fn not_running(name: &MachineName) -> Refusal {
    let hint = if *name == MachineName::default() {
        "Start it with `nsvm machine start`".to_owned()
    } else {
        format!("Start it with `nsvm machine start {name}`")
    };
    Refusal::new(format!("machine \"{name}\" is not running")).hint(hint)
}

/// One connection, used by a reading and a writing thread.
struct SharedStream(Arc<interprocess::local_socket::Stream>);

impl io::Read for SharedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl io::Write for SharedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}
