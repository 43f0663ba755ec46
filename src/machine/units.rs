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
    match scaled(bytes) {
        (_, "B") => format!("{bytes} B"),
        (value, unit) => format!("{value:.1} {unit}"),
    }
}

/// The same as podman's lists have it, of four digits at most: `2GiB`,
/// `1.465GiB` (`BytesSize` of docker/go-units).
pub fn podman_bytes(bytes: u64) -> String {
    let (value, unit) = scaled(bytes);
    let decimals = match value {
        1000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0') } else { &text };
    format!("{}{unit}", text.trim_end_matches('.'))
}

fn scaled(bytes: u64) -> (f64, &'static str) {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[allow(clippy::cast_precision_loss)] // few digits are shown
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    (value, UNITS[unit])
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

    #[test]
    fn podman_shows_four_digits_at_most() {
        for (bytes, text) in [
            (0, "0B"),
            (512, "512B"),
            (MiB(2048).bytes(), "2GiB"),
            (MiB(1500).bytes(), "1.465GiB"),
            (MiB(1000).bytes(), "1000MiB"),
            (GiB(100).bytes(), "100GiB"),
            (GiB(16 * 1024).bytes(), "16TiB"),
            (GiB(10).bytes() + MiB(13).bytes(), "10.01GiB"),
        ] {
            assert_eq!(podman_bytes(bytes), text);
        }
    }
}
