//! The client: one per run, on a small runtime of its own.

use std::future::Future;
use std::pin::pin;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, Response, StatusCode};
use tokio::runtime::Runtime;
use url::{Host, Url};

use super::body::{Body, Known};
use super::error::{FetchError, innermost};
use super::file;

/// How soon a wait notices that the user has given up.
const TICK: Duration = Duration::from_millis(100);
/// Download servers hand over to mirrors once or twice.
const REDIRECTS_MAX: usize = 5;

/// How long to wait for a server, and how often to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    pub connect: Duration,
    /// Without a single byte.
    pub stall: Duration,
    /// Tries in a row that bring nothing.
    pub tries: u32,
    /// Before the second try; doubled before each further one.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            tries: 4,
            pause: Duration::from_millis(500),
        }
    }
}

pub struct Http<'a> {
    client: Client,
    runtime: Runtime,
    pub(super) patience: Patience,
    cancel: &'a AtomicBool,
    /// For the first host only: reqwest leaves it out when a redirect leads to another.
    authorization: Option<HeaderValue>,
}

impl<'a> Http<'a> {
    /// A client for `url` and whatever it redirects to, which trusts these
    /// `authorities` besides the system's.
    pub fn new(
        url: &Url,
        patience: Patience,
        authorities: Vec<Certificate>,
        cancel: &'a AtomicBool,
    ) -> Result<Self, FetchError> {
        install_crypto();
        let mut builder = Client::builder()
            .user_agent(concat!("nsvm/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.connect)
            .redirect(Policy::custom(redirect))
            .tls_certs_merge(authorities);
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|e| FetchError::Client(innermost(&e)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| FetchError::Client(e.to_string()))?;
        Ok(Self { client, runtime, patience, cancel, authorization: None })
    }

    /// The same, with a token that a registry gave.
    pub fn authorized(mut self, bearer: Option<&str>) -> Self {
        let header = bearer.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        self.authorization = header.map(|mut header| {
            header.set_sensitive(true);
            header
        });
        self
    }

    /// The file at `url`, to be read as it comes. It begins after what is
    /// `known` of it, if that is still the same file and the server can.
    pub fn body(&self, url: &Url, known: Option<&Known>) -> Result<Body<'_>, FetchError> {
        let headers = known.map(Known::ask_for_rest).unwrap_or_default();
        match self.trying(|| self.get(url, headers.clone())) {
            Ok(response) => Body::new(self, url.clone(), response, known),
            Err(FetchError::Status { status: StatusCode::RANGE_NOT_SATISFIABLE, .. }) => {
                self.body(url, None)
            }
            Err(e) => Err(e),
        }
    }

    /// A short text such as metadata, of at most `limit` bytes.
    pub fn text(&self, url: &Url, limit: usize) -> Result<Vec<u8>, FetchError> {
        if let Some(text) = file::text(url, limit)? {
            return Ok(text);
        }
        let mut body = self.body(url, None)?;
        let mut text = Vec::new();
        while let Some(chunk) = body.chunk()? {
            text.extend_from_slice(&chunk);
            if text.len() > limit {
                return Err(FetchError::TooLong { url: url.clone(), limit });
            }
        }
        Ok(text)
    }

    /// One request, up to the end of the answer's headers.
    pub(super) fn get(&self, url: &Url, mut headers: HeaderMap) -> Result<Response, FetchError> {
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let request = self.client.get(url.clone()).headers(headers).send();
        let response = self
            .wait(url, request)?
            .map_err(|e| FetchError::Connect { url: url.clone(), reason: innermost(&e) })?;
        if !response.status().is_success() {
            return Err(FetchError::Status { url: url.clone(), status: response.status() });
        }
        if is_web_page(response.headers()) {
            return Err(FetchError::WebPage { url: url.clone() });
        }
        Ok(response)
    }

    /// Runs `one_try` until it succeeds, fails for good, or patience ends.
    pub(super) fn trying<T>(
        &self,
        mut one_try: impl FnMut() -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        for failures in 1..self.patience.tries {
            match one_try() {
                Err(e) if e.is_passing() => self.pause_before(failures)?,
                done => return done,
            }
        }
        one_try()
    }

    /// Sleeps after the `failures`-th failure in a row.
    pub(super) fn pause_before(&self, failures: u32) -> Result<(), FetchError> {
        let length = self.patience.pause * 2_u32.saturating_pow(failures.saturating_sub(1));
        let end = Instant::now() + length;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.go_on()?;
            std::thread::sleep(left.min(TICK));
        }
        self.go_on()
    }

    /// Waits for a step of a transfer: until it is done, the server has been
    /// silent for too long, or the user has given up.
    pub fn wait<F: Future>(&self, url: &Url, step: F) -> Result<F::Output, FetchError> {
        let end = Instant::now() + self.patience.stall;
        self.runtime.block_on(async {
            let mut step = pin!(step);
            loop {
                if let Ok(output) = tokio::time::timeout(TICK, step.as_mut()).await {
                    return Ok(output);
                }
                self.go_on()?;
                if Instant::now() >= end {
                    return Err(FetchError::Stalled {
                        url: url.clone(),
                        after: self.patience.stall,
                    });
                }
            }
        })
    }

    fn go_on(&self) -> Result<(), FetchError> {
        if self.cancel.load(Ordering::Relaxed) { Err(FetchError::Cancelled) } else { Ok(()) }
    }
}

/// reqwest is built without a crypto provider of its own and panics when none
/// is installed before the first client.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that another part of the program was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Follows a few redirects, but never from https to http.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from_https = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS_MAX {
        attempt.error("too many redirects")
    } else if from_https && attempt.url().scheme() != "https" {
        attempt.error("it redirects from https to an unprotected URL")
    } else {
        attempt.follow()
    }
}

/// Whether the URL leads to this host itself.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn is_web_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
}
