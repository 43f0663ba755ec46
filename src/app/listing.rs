//! Asking a machine's agent for its namespaces.

use std::io;

use anyhow::{Context, bail};

use super::capture::Capture;
use super::session::{self, Connection, Stdio};
use crate::namespace::listing::Snapshot;
use crate::protocol::outcome::Outcome;
use crate::protocol::request::{ListRequest, Request};

/// The largest listing that is taken from a guest. A process with a long
/// command line and eight namespaces takes some 300 bytes, and one of the
/// longest that lsns(8) shows 8 KiB: room for the 32768 processes of a default
/// guest, and for a thousand of the longest.
const LARGEST: usize = 16 << 20;

/// What `request` may see of the guest's namespaces; or how the process that
/// looked ended. An error means that the connection broke or that the answer
/// makes no sense.
pub fn ask(
    connection: Connection,
    request: ListRequest,
) -> anyhow::Result<Result<Snapshot, Outcome>> {
    let taken = Capture::up_to(LARGEST);
    let stdio = Stdio {
        stdin: Box::new(io::empty()),
        stdout: Box::new(taken.clone()),
        stderr: Box::new(io::stderr()),
    };
    let outcome = session::relay(connection, Request::List(request), stdio)?;
    let Some(bytes) = taken.bytes() else {
        bail!("the machine's list of namespaces is larger than {} MiB", LARGEST >> 20);
    };
    if outcome != Outcome::Exited(0) {
        return Ok(Err(outcome));
    }
    let snapshot = rmp_serde::from_slice(&bytes);
    Ok(Ok(snapshot.context("the machine's list of namespaces is broken")?))
}
