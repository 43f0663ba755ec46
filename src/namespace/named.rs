//! Named namespaces: a set of namespaces that outlives the programs in it, and
//! what is told about one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::limits::{CPU_PERIOD, Limits};
use super::spec::NamespaceSpec;

/// As long as a label of a host name and one more: names become file names.
pub const MAX_LEN: usize = 64;

/// `HOST_NAME_MAX` of Linux: what sethostname(2) takes.
const MAX_HOSTNAME: usize = 64;

/// A valid name: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most [`MAX_LEN`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "host", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("invalid name \"{0}\": names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*")]
    Characters(String),
    #[error("invalid name \"{0}\": {1} characters are too many, {MAX_LEN} are allowed")]
    TooLong(String, usize),
}

/// A host name that Linux or its users would not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid host name \"{0}\": it must have 1 to {MAX_HOSTNAME} letters, digits, dots and dashes"
)]
pub struct HostnameError(String);

/// What is to be made under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedSpec {
    pub name: Name,
    #[serde(default)]
    pub namespaces: NamespaceSpec,
    /// Of all programs in it and its holder, together.
    #[serde(default)]
    pub limits: Limits,
}

/// Whether a program can be run in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "host", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    Running,
    /// Only its name is left.
    Gone,
}

/// What is told about a named namespace. Keys are written as podman writes
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "host", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct Named {
    pub name: Name,
    pub state: State,
    /// Why it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds since 1970, by the guest's clock.
    pub created: i64,
    /// Whose it is.
    pub user: String,
    pub uid: u32,
    /// Those that were made for it.
    pub kinds: Vec<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// What it may use; none: all that the machine has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<NamedLimits>,
    /// Their numbers, as lsns(8) shows them; empty once it is gone.
    #[serde(default)]
    pub namespaces: BTreeMap<String, u64>,
    /// The process that holds them, as the guest numbers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The other processes in it, likewise.
    #[serde(default)]
    pub processes: Vec<u32>,
}

/// Its limits; absent ones do not limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "host", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct NamedLimits {
    /// Processors, in billionths of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    /// Bytes, and as many of swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<u64>,
    /// Share of a disk beside others, 1 to 10000; theirs is 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u16>,
}

impl NamedLimits {
    /// None where nothing is limited.
    pub fn of(limits: &Limits) -> Option<Self> {
        let nano = |quota: u64| quota.saturating_mul(1_000_000_000 / CPU_PERIOD);
        (!limits.are_none()).then(|| Self {
            nano_cpus: limits.cpu_quota.map(nano),
            memory: limits.memory,
            pids_limit: limits.pids,
            io_weight: limits.io_weight,
        })
    }
}

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(inner) {
            return Err(NameError::Characters(text.to_owned()));
        }
        if text.len() > MAX_LEN {
            return Err(NameError::TooLong(text.to_owned(), text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text as a host name: labels of letters, digits and dashes.
pub fn hostname(text: &str) -> Result<String, HostnameError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let label =
        |label: &str| !label.is_empty() && label.chars().all(plain) && !label.starts_with('-');
    if text.len() > MAX_HOSTNAME || !text.split('.').all(label) {
        return Err(HostnameError(text.to_owned()));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_file_names_that_surprise_nobody() {
        for good in ["a", "web-1", "9.x_y", &"x".repeat(MAX_LEN)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        let long = "x".repeat(MAX_LEN + 1);
        for bad in ["", ".", "..", "-a", "a/b", "a b", "ä", "a\0", "a\n", &long] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        let error = "../x".parse::<Name>().unwrap_err().to_string();
        assert_eq!(error, "invalid name \"../x\": names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*");
    }

    #[test]
    fn the_wire_refuses_what_is_no_name() {
        let bytes = rmp_serde::to_vec("../../etc/passwd").unwrap();
        assert!(rmp_serde::from_slice::<Name>(&bytes).is_err());
    }

    #[test]
    fn limits_are_told_in_podmans_words_and_none_not_at_all() {
        assert_eq!(NamedLimits::of(&Limits::NONE), None);
        let some = Limits { cpu_quota: Some(50_000), pids: Some(20), ..Limits::NONE };
        let json = serde_json::to_string(&NamedLimits::of(&some)).unwrap();
        assert_eq!(json, r#"{"NanoCpus":500000000,"PidsLimit":20}"#);
    }

    #[test]
    fn host_names_are_labels() {
        assert_eq!(hostname("web-1.example"), Ok("web-1.example".to_owned()));
        let long = "x".repeat(MAX_HOSTNAME + 1);
        for bad in ["", ".", "a..b", "-a", "a b", "a_b", "a\n", &long] {
            assert!(hostname(bad).is_err(), "{bad:?}");
        }
    }
}
