//! Sizes as people type them: whole MiB of memory, whole GiB of disk.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Memory in MiB (2^20 bytes).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct MiB(pub u64);

/// Disk space in GiB (2^30 bytes).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct GiB(pub u64);

impl MiB {
    pub const fn bytes(self) -> u64 {
        self.0 << 20
    }
}

impl GiB {
    pub const fn bytes(self) -> u64 {
        self.0 << 30
    }
}

/// A byte count for people: `12.3 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss)] // one decimal is shown
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_binary() {
        assert_eq!(MiB(1).bytes(), 1_048_576);
        assert_eq!(GiB(2).bytes(), 2_147_483_648);
    }

    #[test]
    fn bytes_are_shown_with_one_decimal() {
        assert_eq!(human_bytes(512), "512 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(5 << 40), "5.0 TiB");
    }
}
