//! Why a download failed.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;
use url::Url;

use super::super::error::ImageError;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot reach \"{}\": {reason}", host(.url))]
    Connect { url: Url, reason: String },
    #[error("\"{url}\" answered {status}")]
    Status { url: Url, status: StatusCode },
    #[error("\"{url}\" answered with a web page instead of a file")]
    WebPage { url: Url },
    #[error("\"{url}\" sent nothing for {} seconds", .after.as_secs())]
    Stalled { url: Url, after: Duration },
    #[error("the connection to \"{}\" was cut after {done} bytes: {reason}", host(.url))]
    Cut { url: Url, done: u64, reason: String },
    #[error("\"{url}\" changed while it was downloaded")]
    Changed { url: Url },
    #[error("\"{url}\" sent more than {limit} bytes, too many for what was asked")]
    TooLong { url: Url, limit: usize },
    #[error("cannot read \"{}\": {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot use the CA certificates in \"{}\": {reason}", .path.display())]
    Authorities { path: PathBuf, reason: String },
    #[error("cannot prepare for HTTP: {0}")]
    Client(String),
    #[error("interrupted")]
    Cancelled,
}

impl FetchError {
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Connect { reason, .. } if reason.contains("certificate") => {
                "Check the host's clock and its CA certificates (on Debian: apt-get install \
                 ca-certificates); --cacert FILE adds a private one"
            }
            Self::Stalled { .. } | Self::Cut { .. } => {
                "Check the network and run the command again: it goes on where it stopped"
            }
            Self::Connect { .. } => {
                "Check the network (HTTPS_PROXY names a proxy) and run the command again, or use \
                 --image debian-local, which needs Debian packages only"
            }
            Self::Status { status, .. } if status.is_client_error() => {
                "Open the URL in a browser: it may have moved, or need a login"
            }
            Self::Status { .. } | Self::Changed { .. } => "Run the command again later",
            Self::WebPage { .. } => {
                "Open any page in a browser: the network may ask for a login first"
            }
            Self::File { .. } => {
                "Check the path (a mirror in the config file or NSVM_STREAM_URL may name it), and \
                 that its disk is mounted"
            }
            Self::Authorities { .. } => {
                "Give --cacert (or SSL_CERT_FILE) a file of PEM certificates you can read"
            }
            Self::Client(_) => {
                "Install the host's CA certificates (on Debian: apt-get install ca-certificates)"
            }
            Self::TooLong { .. } => {
                "Check the URL (NSVM_STREAM_URL may name another): it is not of metadata"
            }
            Self::Cancelled => return None,
        };
        Some(text.to_owned())
    }

    /// A connection that failed in a library of its own.
    pub fn unreachable(url: &Url, error: &reqwest::Error) -> Self {
        Self::Connect { url: url.clone(), reason: innermost(error) }
    }

    /// Whether the server wants a token, or another one.
    pub fn wants_token(&self) -> bool {
        matches!(self, Self::Status { status: StatusCode::UNAUTHORIZED, .. })
    }

    /// Whether there is no such file in a place that can be reached.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Status { status, .. } => status.is_client_error(),
            Self::File { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Whether another try may end better.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Stalled { .. } | Self::Cut { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(status)
            }
            _ => false,
        }
    }
}

impl From<FetchError> for ImageError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Cancelled => Self::Cancelled,
            error => Self::Fetch(error),
        }
    }
}

/// The innermost cause: reqwest's outer layers repeat the URL only.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or(url.as_str())
}
