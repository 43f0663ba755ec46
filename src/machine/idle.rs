//! How long nothing may use a machine before it is suspended.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whole seconds, written as people do: `10m`, `1h30m`, `off`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct IdleTime(u64);

/// From the largest; seconds each.
const UNITS: [(char, u64); 4] = [('d', 86400), ('h', 3600), ('m', 60), ('s', 1)];

/// More than this is as good as never.
const LONGEST: u64 = 365 * 86400;

impl IdleTime {
    pub const OFF: Self = Self(0);

    pub const fn is_off(&self) -> bool {
        self.0 == 0
    }

    /// `None`: it is never suspended by itself.
    pub fn get(self) -> Option<Duration> {
        (!self.is_off()).then(|| Duration::from_secs(self.0))
    }
}

impl FromStr for IdleTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "it must be a time such as 90s, 10m or 1h30m, or off".to_owned();
        if matches!(text, "off" | "0") {
            return Ok(Self::OFF);
        }
        let (mut seconds, mut rest) = (0_u64, text);
        while !rest.is_empty() {
            let at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, unit) = (&rest[..at], rest[at..].chars().next().ok_or_else(wrong)?);
            let (_, factor) =
                UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let count: u64 = number.parse().map_err(|_| wrong())?;
            seconds = count
                .checked_mul(factor)
                .and_then(|more| more.checked_add(seconds))
                .filter(|all| *all <= LONGEST)
                .ok_or_else(|| "more than 365 days are as good as off".to_owned())?;
            rest = &rest[at + unit.len_utf8()..];
        }
        if text.is_empty() { Err(wrong()) } else { Ok(Self(seconds)) }
    }
}

impl fmt::Display for IdleTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_off() {
            return f.write_str("off");
        }
        let mut left = self.0;
        for (name, factor) in UNITS {
            if left >= factor {
                write!(f, "{}{name}", left / factor)?;
                left %= factor;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for IdleTime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<IdleTime> for String {
    fn from(time: IdleTime) -> Self {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        let seconds = |text: &str| text.parse::<IdleTime>().map(|time| time.0);
        for (text, wanted) in [("off", 0), ("0", 0), ("0m", 0), ("5s", 5), ("10m", 600)] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        for (text, wanted) in [("1h30m", 5400), ("90m", 5400), ("1d1s", 86401)] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        assert_eq!(IdleTime(5400).to_string(), "1h30m");
        assert_eq!(IdleTime(0).to_string(), "off");
        for bad in ["", "10", "m", "-5m", "1.5h", "10 m", "10ms", "366d", "99999999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!((IdleTime::OFF.get(), IdleTime(1).get()), (None, Some(Duration::from_secs(1))));
    }
}
