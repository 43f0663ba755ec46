//! Which nsvm a process is: what tells a supervisor of before an upgrade from a
//! command of after it.

use serde::{Deserialize, Serialize};

/// One build of nsvm, as far as it matters to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Build {
    pub version: String,
    /// When its program was written, in milliseconds since 1970; 0: unknown.
    pub written: u64,
    /// Of the control endpoint.
    pub protocol: u32,
}

impl Build {
    /// Whether this one shall take the other's place: its version is higher, or
    /// the same and its program newer. Of two builds one at most does, so that
    /// they never take turns.
    pub fn supersedes(&self, other: &Self) -> bool {
        (numbers(&self.version), self.written) > (numbers(&other.version), other.written)
    }
}

/// Major, minor, patch; what is no number counts as 0.
fn numbers(version: &str) -> [u64; 3] {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    [(); 3].map(|()| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(version: &str, written: u64) -> Build {
        Build { version: version.into(), written, protocol: 1 }
    }

    #[test]
    fn the_higher_version_counts_and_then_the_newer_program() {
        let old = build("0.9.10", 5);
        assert!(build("0.10.0", 1).supersedes(&old) && build("1.0.0-rc1", 0).supersedes(&old));
        assert!(build("0.9.10", 6).supersedes(&old));
        for other in [build("0.9.10", 5), build("0.9.10", 4), build("0.9.9", 9), build("x", 9)] {
            assert!(!other.supersedes(&old), "{other:?}");
        }
    }
}
