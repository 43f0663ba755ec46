//! Asking a machine's agent for its namespaces.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};

use super::session::{self, Connection, Stdio};
use crate::namespace::listing::Snapshot;
use crate::protocol::outcome::Outcome;
use crate::protocol::request::{Request, UserSpec};

/// The largest listing that is taken from a guest. A process with a long
/// command line and eight namespaces takes some 300 bytes, and one of the
/// longest that lsns(8) shows 8 KiB: room for the 32768 processes of a default
/// guest, and for a thousand of the longest.
const LARGEST: usize = 16 << 20;

/// What `user` may see of the guest's namespaces; or how the process that
/// looked ended. An error means that the connection broke or that the answer
/// makes no sense.
pub fn ask(
    connection: Connection,
    user: Option<UserSpec>,
) -> anyhow::Result<Result<Snapshot, Outcome>> {
    let taken = Taken::default();
    let stdio = Stdio {
        stdin: Box::new(io::empty()),
        stdout: Box::new(taken.clone()),
        stderr: Box::new(io::stderr()),
    };
    let outcome = session::relay(connection, Request::List(user), stdio)?;
    let bytes = taken.0.lock().unwrap_or_else(PoisonError::into_inner);
    if bytes.is_too_long {
        bail!("the machine's list of namespaces is larger than {} MiB", LARGEST >> 20);
    }
    if outcome != Outcome::Exited(0) {
        return Ok(Err(outcome));
    }
    let snapshot = rmp_serde::from_slice(&bytes.bytes);
    Ok(Ok(snapshot.context("the machine's list of namespaces is broken")?))
}

/// What has come so far.
#[derive(Default)]
struct Bytes {
    bytes: Vec<u8>,
    is_too_long: bool,
}

#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Bytes>>);

impl Write for Taken {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if more.len() > LARGEST - taken.bytes.len() {
            taken.is_too_long = true;
            // Ends the process there: nobody reads on.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        taken.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_without_end_is_not_kept() {
        let mut taken = Taken::default();
        let chunk = vec![0; 1 << 20];
        let written = (0..64).take_while(|_| taken.write_all(&chunk).is_ok()).count();
        assert_eq!(written, LARGEST >> 20);
        assert!(taken.0.lock().unwrap().is_too_long);
    }
}
