//! Names of machines.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The machine meant when none is named.
pub const DEFAULT: &str = "nsvm-machine-default";

/// Long enough for people, short enough that socket paths stay under 104 bytes.
pub const MAX_LEN: usize = 30;

/// Names of VM providers: podman's users type them where a machine is meant,
/// so a machine of that name would only confuse.
const RESERVED: [&str; 6] = ["qemu", "wsl", "applehv", "hyperv", "libkrun", "local"];

/// A valid machine name: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most [`MAX_LEN`] bytes.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[a-zA-Z0-9][a-zA-Z0-9_.-]*$", "maxLength" = 30))]
pub struct MachineName(String);

/// Why a text is no machine name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    #[error("invalid name \"{0}\": names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*")]
    Characters(String),
    #[error("invalid name \"{0}\": {1} characters are too many, {MAX_LEN} are allowed")]
    TooLong(String, usize),
    #[error("cannot use \"{0}\" as a machine name: it names a VM provider")]
    Reserved(String),
}

impl MachineName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for MachineName {
    fn default() -> Self {
        Self(DEFAULT.to_owned())
    }
}

impl FromStr for MachineName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(inner) {
            return Err(NameError::Characters(text.to_owned()));
        }
        if text.len() > MAX_LEN {
            return Err(NameError::TooLong(text.to_owned(), text.len()));
        }
        if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Err(NameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Which of the names was most likely meant by one that is none of them.
pub fn nearest(meant: &MachineName, names: Vec<MachineName>) -> Option<MachineName> {
    /// As clap has it for verbs and options.
    const ALIKE: f64 = 0.7;
    let likeness = |name: &MachineName| strsim::jaro(&meant.0, &name.0);
    let alike = names.into_iter().filter(|name| likeness(name) > ALIKE);
    alike.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

impl TryFrom<String> for MachineName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<MachineName> for String {
    fn from(name: MachineName) -> Self {
        name.0
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_valid_name() {
        assert_eq!(DEFAULT.parse(), Ok(MachineName::default()));
    }

    #[test]
    fn letters_digits_and_inner_punctuation_are_allowed() {
        for good in ["a", "9", "a.b-c_D", &"x".repeat(MAX_LEN)] {
            assert!(good.parse::<MachineName>().is_ok(), "{good}");
        }
    }

    #[test]
    fn anything_that_could_leave_the_directory_is_refused() {
        for bad in ["", ".", "..", "-x", "_x", "a/b", "a\\b", "a b", "ä", "a\0"] {
            let refused = bad.parse::<MachineName>();
            assert_eq!(refused, Err(NameError::Characters(bad.to_owned())));
        }
    }

    #[test]
    fn a_slip_of_the_fingers_is_understood() {
        let name = |text: &str| text.parse::<MachineName>().unwrap();
        let there = || vec![name("work"), name("play"), name("nsvm-machine-default")];
        assert_eq!(nearest(&name("wrok"), there()), Some(name("work")));
        assert_eq!(nearest(&name("nsvm-machine-defaut"), there()), Some(MachineName::default()));
        assert_eq!(nearest(&name("zzz"), there()), None);
        assert_eq!(nearest(&name("a"), vec![]), None);
    }

    #[test]
    fn long_and_reserved_names_say_so() {
        let long = "x".repeat(MAX_LEN + 1);
        assert!(matches!(long.parse::<MachineName>(), Err(NameError::TooLong(_, 31))));
        assert!(matches!("WSL".parse::<MachineName>(), Err(NameError::Reserved(_))));
    }
}
