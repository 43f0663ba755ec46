//! The output of a guest's program, kept up to a size, and requests that are
//! answered by one.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

use super::session::{self, Connection, Stdio};
use crate::protocol::outcome::Outcome;
use crate::protocol::request::Request;

/// What a process there writes to stdout for `request`, at most `limit` bytes;
/// or how it ended without. An error means that the connection broke or that
/// the answer, which is called `what`, makes no sense.
pub fn ask<T: DeserializeOwned>(
    connection: Connection,
    request: Request,
    limit: usize,
    what: &str,
) -> anyhow::Result<Result<T, Outcome>> {
    let taken = Capture::up_to(limit);
    let stdio = Stdio {
        stdin: Box::new(io::empty()),
        stdout: Box::new(taken.clone()),
        stderr: Box::new(io::stderr()),
    };
    let outcome = session::relay(connection, request, stdio)?;
    let Some(bytes) = taken.bytes() else {
        bail!("the machine's list of {what} is larger than {} MiB", limit >> 20);
    };
    if outcome != Outcome::Exited(0) {
        return Ok(Err(outcome));
    }
    let answer = rmp_serde::from_slice(&bytes);
    Ok(Ok(answer.with_context(|| format!("the machine's list of {what} is broken"))?))
}

/// Where output goes; a copy of it tells what came.
#[derive(Clone)]
pub struct Capture {
    taken: Arc<Mutex<Taken>>,
    /// Bytes.
    limit: usize,
}

#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl Capture {
    /// Takes at most `limit` bytes, because guest data is untrusted.
    pub fn up_to(limit: usize) -> Self {
        Self { taken: Arc::default(), limit }
    }

    /// What has come; `None` when it was too long. Nothing of it is left here.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = std::mem::take(&mut taken.bytes);
        (!taken.is_too_long).then_some(bytes)
    }
}

impl Write for Capture {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if more.len() > self.limit - taken.bytes.len() {
            taken.is_too_long = true;
            // Ends the program there: nobody reads on.
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
    fn what_comes_within_the_limit_is_kept() {
        let capture = Capture::up_to(3);
        capture.clone().write_all(b"abc").unwrap();
        assert_eq!(capture.bytes(), Some(b"abc".to_vec()));
    }

    #[test]
    fn an_output_without_end_is_not_kept() {
        let capture = Capture::up_to(4 << 20);
        let chunk = vec![0; 1 << 20];
        let written = (0..64).take_while(|_| capture.clone().write_all(&chunk).is_ok()).count();
        assert_eq!(written, 4);
        assert_eq!(capture.bytes(), None);
    }
}
