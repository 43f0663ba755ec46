//! Following what happens to a machine, from run to run.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::control::client::{Client, hung_up, nobody_listens};
use crate::control::message::{Reply, Request};
use crate::machine::event::{Event, RunState};
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::store::StoreError;

/// Between two looks whether a stopped machine is being started: nothing tells.
const POLL: Duration = Duration::from_millis(100);

/// One event, as JSON shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Stamped {
    /// RFC 3339, when it was heard of.
    pub time: String,
    pub machine: String,
    #[serde(flatten)]
    pub event: Event,
}

/// Tells `told` the machine's state and then everything that happens, until the
/// machine is removed.
pub fn follow(
    context: &Context,
    name: &MachineName,
    mut told: impl FnMut(&Stamped),
) -> anyhow::Result<()> {
    context.store.load(name)?;
    let mut last = None;
    let mut tell = |event: Event| {
        if let Event::State { state } = event
            && last.replace(state) == Some(state)
        {
            return;
        }
        let time = super::inspect::time(Some(Timestamp::now()));
        told(&Stamped { time, machine: name.to_string(), event });
    };
    loop {
        match listen(context, name, &mut tell) {
            Err(e) if nobody_listens(&e) || hung_up(&e) => {}
            done => done?,
        }
        match context.store.load(name) {
            Err(StoreError::Missing { .. }) => return Ok(()),
            loaded => drop(loaded?),
        }
        // A VM that lost its supervisor runs on.
        let state = match context.store.status(name) {
            Status::Stopped | Status::Suspended => Some(RunState::Stopped),
            Status::Running => Some(RunState::Running),
            Status::Starting | Status::Broken { .. } => None,
        };
        if let Some(state) = state.filter(|_| !context.store.is_supervised(name)) {
            tell(Event::State { state });
        }
        std::thread::sleep(POLL);
    }
}

/// What one supervisor tells, to its end.
fn listen(context: &Context, name: &MachineName, tell: &mut impl FnMut(Event)) -> io::Result<()> {
    let socket = context.store.paths(name).control_socket();
    let mut client = Client::ask(&socket, &Request::Events)?;
    loop {
        match client.reply()? {
            Reply::Event { inner } => tell(inner),
            _ => return Ok(()),
        }
    }
}
