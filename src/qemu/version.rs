//! QEMU's version: parsed from `--version`, compared with the oldest we support.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::accel::Os;

/// `major.minor.micro`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub micro: u32,
}

impl Version {
    pub const fn new(major: u32, minor: u32, micro: u32) -> Self {
        Self { major, minor, micro }
    }

    /// The oldest QEMU we drive. 6.2 (Ubuntu 22.04) has all options used, and
    /// HVF on Apple silicon; on Windows 7.2 is the first whose monitor listens
    /// on a Unix socket.
    pub const fn floor(os: Os) -> Self {
        match os {
            Os::Linux | Os::MacOs => Self::new(6, 2, 0),
            Os::Windows => Self::new(7, 2, 0),
        }
    }

    /// Reads the first line of `qemu-system-* --version`:
    /// `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)`.
    pub fn from_banner(banner: &str) -> Option<Self> {
        let (_, rest) = banner.lines().next()?.split_once("version ")?;
        rest.split([' ', '-', '(']).next()?.trim().parse().ok()
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = text.split('.').map(str::parse::<u32>);
        let mut next = || numbers.next().unwrap_or(Ok(0));
        match (next(), next(), next()) {
            (Ok(major), Ok(minor), Ok(micro)) => Ok(Self { major, minor, micro }),
            _ => Err(format!("\"{text}\" is not a version")),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banners_of_distributions_are_read() {
        for (banner, expected) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright", (7, 2, 22)),
            ("QEMU emulator version 6.2.0 (Debian 1:6.2+dfsg-2ubuntu6.27)", (6, 2, 0)),
            ("QEMU emulator version 10.1.0\r\n", (10, 1, 0)),
            ("QEMU emulator version 9.1.50 (v9.1.0-1011-g1234567)", (9, 1, 50)),
            ("QEMU emulator version 9.2.0-rc1", (9, 2, 0)),
        ] {
            let (major, minor, micro) = expected;
            let found = Version::from_banner(banner);
            assert_eq!(found, Some(Version::new(major, minor, micro)), "{banner}");
        }
    }

    #[test]
    fn another_program_has_no_version() {
        for banner in ["", "bash, version x", "hello", "QEMU emulator version"] {
            assert_eq!(Version::from_banner(banner), None, "{banner}");
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(Version::new(10, 0, 0) > Version::new(9, 2, 3));
        assert!(Version::floor(Os::Windows) > Version::floor(Os::Linux));
    }
}
