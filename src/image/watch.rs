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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::image::testing::with_job;

    fn read_all(
        bytes: impl Read,
        total: Option<u64>,
        cancel: bool,
    ) -> (io::Result<u64>, Vec<Event>) {
        with_job(&AtomicBool::new(cancel), |job| {
            let mut watch = Watch::new(bytes, job, "/disk", "Copying".to_owned(), total);
            io::copy(&mut watch, &mut io::sink())
        })
    }

    #[test]
    fn the_last_event_is_the_only_one_that_is_complete() {
        for total in [Some(5), None] {
            let (result, events) = read_all(&b"hello"[..], total, false);
            assert_eq!(result.unwrap(), 5);
            let complete = |event: &Event| matches!(event, Event::Bytes { done, total, .. } if Some(*done) == *total);
            assert_eq!(events.iter().filter(|event| complete(event)).count(), 1);
            assert!(events.last().is_some_and(complete), "{events:?}");
        }
    }

    #[test]
    fn it_stops_when_the_user_gives_up() {
        let (result, _) = read_all(io::repeat(1), None, true);
        let error = result.unwrap_err().downcast::<ImageError>().unwrap();
        assert!(matches!(error, ImageError::Cancelled));
    }

    #[test]
    fn errors_of_a_file_name_the_file() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad sector"))
            }
        }
        let error = read_all(Broken, None, false).0.unwrap_err();
        assert_eq!(error.to_string(), "cannot read the image \"/disk\"");
    }
}
