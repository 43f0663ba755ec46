//! A reader that tells how far it is and stops when the user gives up.
//!
//! It sits nearest to the source, so it also gives every error its type:
//! what comes out of it is an [`ImageError`] inside an `io::Error`, and any
//! other error further up was made by a decoder.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::machine::event::Event;

use super::error::ImageError;
use super::prepare::Job;

/// People see ten steps a second as smooth.
const INTERVAL: Duration = Duration::from_millis(100);

pub struct Watch<'a, R> {
    inner: R,
    job: Job<'a>,
    /// Which image, for errors.
    source: &'a str,
    /// What is being done, for the screen.
    what: String,
    done: u64,
    total: Option<u64>,
    last: Option<Instant>,
    ended: bool,
}

impl<'a, R: Read> Watch<'a, R> {
    pub fn new(inner: R, job: Job<'a>, source: &'a str, what: String, total: Option<u64>) -> Self {
        Self { inner, job, source, what, done: 0, total, last: None, ended: false }
    }

    /// Bytes read so far.
    pub fn done(&self) -> u64 {
        self.done
    }

    pub fn total(&self) -> Option<u64> {
        self.total
    }

    fn advance(&mut self, n: usize) {
        self.done += n as u64;
        if n == 0 {
            self.end();
        } else if self.last.is_none_or(|last| last.elapsed() >= INTERVAL) {
            self.last = Some(Instant::now());
            // A last event is owed: this one may not look like it.
            let done = self.done.min(self.total.map_or(u64::MAX, |total| total.saturating_sub(1)));
            self.tell(done, self.total);
        }
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.tell(self.done, Some(self.done));
        }
    }

    fn tell(&self, done: u64, total: Option<u64>) {
        self.job.progress.event(&Event::Bytes { what: self.what.clone(), done, total });
    }
}

impl<R: Read> Read for Watch<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.job.go_on()?;
        let n = self.inner.read(buffer).map_err(|e| typed(e, self.source))?;
        self.advance(n);
        Ok(n)
    }
}

/// Keeps an [`ImageError`]; any other error came from reading a file.
fn typed(error: io::Error, source: &str) -> io::Error {
    let error = error.downcast::<ImageError>();
    error
        .unwrap_or_else(|source_error| ImageError::Read {
            path: source.into(),
            source: source_error,
        })
        .into()
}
