//! A file on its way: reads like one stream, over as many connections as it
//! takes.
//!
//! After a cut it asks for the rest (`Range`), on the condition that the file
//! is still the same (`If-Range`, RFC 9110 section 13.1.5). A server that
//! knows no ranges sends all again, and what is known already is skipped.

use std::io::{self, Read};

use reqwest::header::{
    CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Response, StatusCode};
use url::Url;

use super::error::{FetchError, innermost};
use super::http::Http;
use crate::image::error::ImageError;

type Chunk = Vec<u8>;

/// The beginning of a file that was received before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Bytes received.
    pub length: u64,
    /// The file's validator (`ETag` or date) at that time.
    pub validator: Option<String>,
    /// Of the whole file.
    pub total: Option<u64>,
}

impl Known {
    /// The headers that ask for what follows.
    pub(super) fn ask_for_rest(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(range) = HeaderValue::try_from(format!("bytes={}-", self.length)) {
            headers.insert(RANGE, range);
        }
        if let Some(Ok(validator)) = self.validator.as_ref().map(HeaderValue::try_from) {
            headers.insert(IF_RANGE, validator);
        }
        headers
    }

    /// Whether this answer goes on where the known bytes end.
    fn is_continued_by(&self, response: &Response) -> bool {
        response.status() == StatusCode::PARTIAL_CONTENT
            && content_range(response.headers()) == Some((self.length, self.total))
            && validator(response.headers()) == self.validator
    }
}

pub struct Body<'a> {
    http: &'a Http<'a>,
    url: Url,
    response: Response,
    /// Tells whether a later answer is of the same file.
    validator: Option<String>,
    total: Option<u64>,
    /// Where in the file this began.
    start: u64,
    done: u64,
    /// Bytes of a repeated answer that were received before.
    skip: u64,
    /// Received and not yet read, from `at` on.
    chunk: Chunk,
    at: usize,
    /// Failures in a row without progress.
    failures: u32,
}

impl<'a> Body<'a> {
    /// The answer to a request for what follows the `known` bytes.
    pub(super) fn new(
        http: &'a Http<'a>,
        url: Url,
        response: Response,
        known: Option<&Known>,
    ) -> Result<Self, FetchError> {
        let continued = known.filter(|known| known.is_continued_by(&response));
        if continued.is_none() && response.status() == StatusCode::PARTIAL_CONTENT {
            return Err(FetchError::Changed { url });
        }
        let start = continued.map_or(0, |known| known.length);
        Ok(Self {
            validator: validator(response.headers()),
            total: continued.map_or_else(|| response.content_length(), |known| known.total),
            http,
            url,
            response,
            start,
            done: start,
            skip: 0,
            chunk: Vec::new(),
            at: 0,
            failures: 0,
        })
    }

    /// Offset of the first byte that is read from here.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// What tells this state of the file from others.
    pub fn validator(&self) -> Option<String> {
        self.validator.clone()
    }

    /// Bytes in the whole file, where the server says so.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The next bytes of the file; `None` at its end.
    pub(super) fn chunk(&mut self) -> Result<Option<Chunk>, FetchError> {
        loop {
            match self.receive() {
                Ok(Some(bytes)) => {
                    if let Some(new) = self.not_known_yet(bytes) {
                        self.done += new.len() as u64;
                        self.failures = 0;
                        return Ok(Some(new));
                    }
                }
                Ok(None) => return Ok(None),
                Err(e) if e.is_passing() => self.reconnect(e)?,
                Err(e) => return Err(e),
            }
        }
    }

    /// One piece from the connection, whatever it is.
    fn receive(&mut self) -> Result<Option<Chunk>, FetchError> {
        let received = self.http.wait(&self.url, self.response.chunk())?;
        let cut = |reason| FetchError::Cut { url: self.url.clone(), done: self.done, reason };
        match received {
            Ok(Some(bytes)) => Ok(Some(bytes.to_vec())),
            Ok(None) if self.total.is_some_and(|total| self.done < total) => {
                Err(cut("it ended too early".to_owned()))
            }
            Ok(None) => Ok(None),
            Err(e) => Err(cut(innermost(&e))),
        }
    }

    /// What of these bytes was not received over an earlier connection.
    fn not_known_yet(&mut self, mut bytes: Chunk) -> Option<Chunk> {
        let known = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= known as u64;
        bytes.drain(..known);
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Asks for the rest of the file after `cause`, which is the error when
    /// patience has ended.
    fn reconnect(&mut self, cause: FetchError) -> Result<(), FetchError> {
        self.failures += 1;
        if self.failures >= self.http.patience.tries {
            return Err(cause);
        }
        self.http.pause_before(self.failures)?;
        let headers = self.known().ask_for_rest();
        let response = self.http.trying(|| self.http.get(&self.url, headers.clone()))?;
        self.skip = self.known_in(&response)?;
        self.response = response;
        Ok(())
    }

    fn known(&self) -> Known {
        Known { length: self.done, validator: self.validator.clone(), total: self.total }
    }

    /// How many bytes at the start of this answer were received before.
    fn known_in(&self, response: &Response) -> Result<u64, FetchError> {
        let repeats = response.status() != StatusCode::PARTIAL_CONTENT
            && response.content_length() == self.total
            && validator(response.headers()) == self.validator;
        if self.known().is_continued_by(response) {
            Ok(0)
        } else if repeats {
            Ok(self.done)
        } else {
            Err(FetchError::Changed { url: self.url.clone() })
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            self.chunk = self.chunk().map_err(ImageError::from)?.unwrap_or_default();
            self.at = 0;
        }
        let n = buffer.len().min(self.chunk.len() - self.at);
        buffer[..n].copy_from_slice(&self.chunk[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// A strong `ETag`, else the date. A weak one does not promise equal bytes.
fn validator(headers: &HeaderMap) -> Option<String> {
    let strong = |value: &&HeaderValue| !value.as_bytes().starts_with(b"W/");
    let value = headers.get(ETAG).filter(strong).or_else(|| headers.get(LAST_MODIFIED))?;
    value.to_str().ok().map(str::to_owned)
}

/// Start and whole length in `Content-Range: bytes START-END/LENGTH`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, length) = text.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, length.parse().ok()))
}
