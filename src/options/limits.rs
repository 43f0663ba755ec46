//! `--cpus`, `--memory`, `--pids-limit`, `--io-weight`: what a command may
//! use of the machine, in podman's words.

use super::OptionError;
use crate::namespace::limits::{CPU_PERIOD, LEAST_CPU_QUOTA, Limits};

/// Shared by the verbs that make something new.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LimitOptions {
    /// Processors' time it may use: 0.5 is half of one
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    pub cpus: Option<String>,
    /// Memory it may use (as much again of swap), such as 256M or 1.5g
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub memory: Option<String>,
    /// Processes and threads it may have
    #[arg(long, value_name = "COUNT", help_heading = "Limits")]
    pub pids_limit: Option<String>,
    /// Its share of a disk beside others, whose is 100: 1 to 10000
    #[arg(long, value_name = "WEIGHT", help_heading = "Limits")]
    pub io_weight: Option<String>,
}

impl LimitOptions {
    /// The limits that were asked for.
    pub fn resolve(&self) -> Result<Limits, OptionError> {
        Ok(Limits {
            cpu_quota: read(
                self.cpus.as_deref(),
                "--cpus",
                "it must be a number of 0.01 or more",
                quota,
            )?,
            memory: read(
                self.memory.as_deref(),
                "--memory",
                "it must be a size such as 256M or 1g",
                size,
            )?,
            pids: read(
                self.pids_limit.as_deref(),
                "--pids-limit",
                "it must be a number of 1 or more",
                |text| text.parse().ok().filter(|count| *count > 0),
            )?,
            io_weight: read(
                self.io_weight.as_deref(),
                "--io-weight",
                "it must be a number from 1 to 10000",
                |text| text.parse().ok().filter(|weight| (1..=10_000).contains(weight)),
            )?,
        })
    }
}

fn read<T>(
    text: Option<&str>,
    option: &'static str,
    must: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, OptionError> {
    let refused = |text: &str| OptionError::Limit { option, text: text.to_owned(), must };
    text.map(|text| parse(text).ok_or_else(|| refused(text))).transpose()
}

fn quota(text: &str) -> Option<u64> {
    scaled(text, CPU_PERIOD).filter(|quota| *quota >= LEAST_CPU_QUOTA)
}

/// A number with a unit, as podman reads it: binary, in either case.
fn size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    scaled(number, 1 << shift).filter(|bytes| *bytes > 0)
}

/// A decimal number times `unit`, without rounding errors of floats.
fn scaled(text: &str, unit: u64) -> Option<u64> {
    /// Digits behind the point that count: more are no longer a byte.
    const PLACES: usize = 12;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(PLACES).collect();
    let fraction: u128 = fraction.parse().ok()?;
    let part = fraction * u128::from(unit) / 10_u128.pow(12);
    u64::try_from(whole.checked_mul(unit.into())?.checked_add(part)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(cpus: &str, memory: &str, pids: &str, weight: &str) -> LimitOptions {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        LimitOptions {
            cpus: some(cpus),
            memory: some(memory),
            pids_limit: some(pids),
            io_weight: some(weight),
        }
    }

    #[test]
    fn limits_are_read_as_podman_reads_them() {
        let limits = args("0.5", "256M", "64", "10000").resolve().unwrap();
        let expected = Limits {
            cpu_quota: Some(50_000),
            memory: Some(256 << 20),
            pids: Some(64),
            io_weight: Some(10_000),
        };
        assert_eq!(limits, expected);
        assert!(LimitOptions::default().resolve().unwrap().are_none());
        for (text, bytes) in [
            ("1000", 1000),
            ("512k", 512 << 10),
            ("1.5g", 3 << 29),
            (".5GiB", 1 << 29),
            ("2tb", 2 << 40),
            ("7B", 7),
        ] {
            assert_eq!(args("", text, "", "").resolve().unwrap().memory, Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused_with_what_would_be_one() {
        for (cpus, memory, pids, weight) in [
            ("0", "", "", ""),
            ("0.001", "", "", ""),
            ("-1", "", "", ""),
            ("1e3", "", "", ""),
            ("nan", "", "", ""),
            (".", "", "", ""),
            ("99999999999999999999999", "", "", ""),
            ("", "0", "", ""),
            ("", "1x", "", ""),
            ("", "M", "", ""),
            ("", "1.2.3m", "", ""),
            ("", "99999999t", "", ""),
            ("", "", "0", ""),
            ("", "", "-1", ""),
            ("", "", "", "0"),
            ("", "", "", "10001"),
        ] {
            let refused = args(cpus, memory, pids, weight).resolve();
            assert!(refused.is_err(), "{cpus} {memory} {pids} {weight}: {refused:?}");
        }
        let text = args("", "lots", "", "").resolve().unwrap_err().to_string();
        assert_eq!(text, "invalid --memory \"lots\": it must be a size such as 256M or 1g");
    }
}
