//! A state of a machine that was kept under a name.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::{MachineName, NameError};
use super::suspended::Suspended;

/// The form this program writes.
pub const VERSION: u32 = 1;

/// A name of a snapshot: what can be a name of a machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SnapshotName(MachineName);

impl SnapshotName {
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for SnapshotName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is written down of a snapshot. The tree is not: it is that of the
/// disk's layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Snapshot {
    pub version: u32,
    pub name: SnapshotName,
    pub created: Timestamp,
    /// The number of the layer that is the disk as it was.
    pub layer: u64,
    /// Of a guest that ran: what belongs to its memory, but for the disk's
    /// generation.
    #[serde(default)]
    pub memory: Option<Suspended>,
}
