//! Asking a machine's agent for its namespaces.

use super::capture;
use super::session::Connection;
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
    capture::ask(connection, Request::List(request), LARGEST, "namespaces")
}
