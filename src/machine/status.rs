//! What a machine is doing, derived from facts and never stored.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The derived state of a machine (DESIGN: data on disk).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Stopped,
    Starting,
    Running,
    Suspended,
    /// Something is wrong that a plain start does not mend.
    Broken {
        reasons: Vec<String>,
    },
}

impl Status {
    /// The word that `inspect` and `list` show.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Broken { .. } => "broken",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
