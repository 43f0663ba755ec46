//! The agent's first line on a new link, before any yamux byte.
//!
//! The channel is the output of a login: a guest's shell start-up files may
//! have printed something first, so the host looks for [`MAGIC`] and skips a
//! bounded amount of noise.

use serde::{Deserialize, Serialize};

/// Begins the line; the rest is JSON up to the newline.
pub const MAGIC: &[u8] = b"NSVM-AGENT ";

/// How much noise before [`MAGIC`], and how long a line, the host accepts.
pub const MAX_PREAMBLE: usize = 64 * 1024;

/// The protocol this program speaks.
pub const PROTOCOL: u32 = 2;

/// Who answers. Guest data: untrusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    /// The agent's package version.
    pub version: String,
    /// SHA-256 of the installed agent binary, noted at its installation.
    #[serde(default)]
    pub sha256: String,
    /// The guest kernel's boot id.
    #[serde(default)]
    pub boot_id: String,
    #[serde(default)]
    pub arch: String,
    /// Kernel release, as `uname -r` prints it.
    #[serde(default)]
    pub kernel: String,
    /// Something of another link still runs here.
    #[serde(default)]
    pub busy: bool,
}

/// What the bytes read so far hold.
#[derive(Debug, PartialEq, Eq)]
pub enum Scan {
    /// Nothing complete yet: read on.
    Incomplete,
    /// The greeting, and how many bytes it and the noise before it took.
    Found(Box<Hello>, usize),
    /// No agent speaks here.
    NotAnAgent(String),
}

impl Hello {
    /// The line as the agent writes it, newline included.
    pub fn line(&self) -> Vec<u8> {
        let mut line = MAGIC.to_vec();
        line.extend(serde_json::to_vec(self).expect("plain fields serialize"));
        line.push(b'\n');
        line
    }

    /// Looks for the greeting in what has been read so far.
    pub fn scan(bytes: &[u8]) -> Scan {
        let Some(start) = bytes.windows(MAGIC.len()).position(|window| window == MAGIC) else {
            return Self::unfinished(bytes);
        };
        let body = &bytes[start + MAGIC.len()..];
        let Some(length) = body.iter().position(|byte| *byte == b'\n') else {
            return Self::unfinished(bytes);
        };
        match serde_json::from_slice(&body[..length]) {
            Ok(hello) => Scan::Found(Box::new(hello), start + MAGIC.len() + length + 1),
            Err(e) => Scan::NotAnAgent(format!("its greeting cannot be read: {e}")),
        }
    }

    /// One that tests may change.
    #[cfg(test)]
    pub fn example() -> Self {
        Self {
            protocol: PROTOCOL,
            version: "0.1.0".into(),
            sha256: "ab".repeat(32),
            boot_id: "b".into(),
            arch: "x86_64".into(),
            kernel: "6.12".into(),
            busy: true,
        }
    }

    fn unfinished(bytes: &[u8]) -> Scan {
        if bytes.len() <= MAX_PREAMBLE {
            return Scan::Incomplete;
        }
        Scan::NotAnAgent(format!("{} bytes came without a greeting", bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_found_behind_noise_and_leaves_what_follows() {
        let mut bytes = b"Welcome to this VM\n".to_vec();
        bytes.extend(Hello::example().line());
        let end = bytes.len();
        bytes.extend(b"yamux");
        assert_eq!(Hello::scan(&bytes), Scan::Found(Box::new(Hello::example()), end));
    }

    #[test]
    fn every_prefix_asks_for_more() {
        let line = Hello::example().line();
        for end in 0..line.len() {
            assert_eq!(Hello::scan(&line[..end]), Scan::Incomplete);
        }
    }

    #[test]
    fn endless_noise_and_broken_json_are_no_agent() {
        assert!(matches!(Hello::scan(&vec![b'x'; MAX_PREAMBLE + 1]), Scan::NotAnAgent(_)));
        assert!(matches!(Hello::scan(b"NSVM-AGENT {\n"), Scan::NotAnAgent(_)));
    }

    #[test]
    fn unknown_fields_of_a_newer_agent_are_skipped() {
        let line = br#"NSVM-AGENT {"protocol":9,"version":"9","later":[1]}"#;
        let mut bytes = line.to_vec();
        bytes.push(b'\n');
        assert!(matches!(Hello::scan(&bytes), Scan::Found(h, _) if h.protocol == 9));
    }
}
