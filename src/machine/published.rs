//! Ports of a guest on the host's loopback: `-p HOST:GUEST`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A TCP port of 127.0.0.1 that leads to one of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Published {
    pub host: u16,
    pub guest: u16,
}

/// Why a text is no published port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishedError {
    #[error("\"{0}\" is no published port: it must be HOST:GUEST")]
    Form(String),
    #[error("\"{0}\" cannot be published: {1} comes later")]
    Protocol(String, String),
    #[error("\"{0}\" cannot be published: ports are published on 127.0.0.1 alone")]
    Address(String),
}

impl PublishedError {
    /// One imperative sentence with the way out.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Form(_) => "Write two numbers from 1 to 65535, such as 8080:80",
            Self::Protocol(..) => "Publish TCP ports alone, without the protocol",
            Self::Address(_) => "Write HOST:GUEST without an address",
        }
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.guest)
    }
}

impl FromStr for Published {
    type Err = PublishedError;

    fn from_str(text: &str) -> Result<Self, PublishedError> {
        let form = || PublishedError::Form(text.to_owned());
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if matches!(protocol, "udp" | "sctp") {
            let name = protocol.to_ascii_uppercase();
            return Err(PublishedError::Protocol(text.to_owned(), name));
        }
        if protocol != "tcp" {
            return Err(form());
        }
        let (host, guest) = ports.rsplit_once(':').ok_or_else(form)?;
        let host = match host.rsplit_once(':') {
            None => host,
            Some(("127.0.0.1", host)) => host,
            Some(_) => return Err(PublishedError::Address(text.to_owned())),
        };
        let number = |text: &str| match text.parse::<u16>() {
            Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
            _ => Err(form()),
        };
        Ok(Self { host: number(host)?, guest: number(guest)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_guest_in_that_order() {
        let published = Published { host: 8080, guest: 80 };
        for text in ["8080:80", "8080:80/tcp", "127.0.0.1:8080:80"] {
            assert_eq!(text.parse(), Ok(published), "{text}");
        }
        assert_eq!(published.to_string(), "8080:80");
    }

    #[test]
    fn what_is_not_offered_is_named() {
        let error = |text: &str| text.parse::<Published>().unwrap_err().to_string();
        for bad in ["80", "", "0:80", "80:", "a:b", "80:65536", "+80:80", "80:80/icmp"] {
            assert!(error(bad).contains("HOST:GUEST"), "{bad}");
        }
        assert_eq!(error("53:53/udp"), "\"53:53/udp\" cannot be published: UDP comes later");
        assert!(error("0.0.0.0:80:80").contains("127.0.0.1 alone"));
    }
}
