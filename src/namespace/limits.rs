//! What a command may use of the machine: the limits of control groups,
//! version 2 (the kernel's cgroup-v2.rst), as values.

use serde::{Deserialize, Serialize};

/// Microseconds that a processor quota counts in: the kernel's own default.
pub const CPU_PERIOD: u64 = 100_000;

/// The smallest quota the kernel takes, in microseconds: 0.01 processors.
pub const LEAST_CPU_QUOTA: u64 = 1_000;

/// Limits of everything that belongs to one command; absent ones do not limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Microseconds of processor time in each [`CPU_PERIOD`].
    pub cpu_quota: Option<u64>,
    /// Bytes of memory, and as many of swap.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Share of a disk beside others, 1 to 10000; theirs is 100.
    pub io_weight: Option<u16>,
}

/// One line to be written to a file of a control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub file: &'static str,
    pub value: String,
    /// Whether a kernel without that file is good enough.
    pub optional: bool,
}

impl Limits {
    pub const NONE: Self = Self { cpu_quota: None, memory: None, pids: None, io_weight: None };

    /// Whether nothing is limited: then no control group is made.
    pub fn are_none(&self) -> bool {
        *self == Self::NONE
    }

    /// The controllers that are needed, each with the option that needs it.
    pub fn controllers(&self) -> Vec<(&'static str, &'static str)> {
        [
            (self.cpu_quota.is_some(), "cpu", "--cpus"),
            (self.memory.is_some(), "memory", "--memory"),
            (self.pids.is_some(), "pids", "--pids-limit"),
            (self.io_weight.is_some(), "io", "--io-weight"),
        ]
        .into_iter()
        .filter_map(|(needed, controller, option)| needed.then_some((controller, option)))
        .collect()
    }

    /// What makes them so, but for the weight, whose file depends on the
    /// kernel.
    pub fn settings(&self) -> Vec<Setting> {
        let must = |file, value| Setting { file, value, optional: false };
        let mut all = Vec::new();
        all.extend(self.cpu_quota.map(|quota| must("cpu.max", format!("{quota} {CPU_PERIOD}"))));
        if let Some(bytes) = self.memory {
            all.push(must("memory.max", bytes.to_string()));
            // As `podman run --memory`: as much swap again. Without this line
            // a limited command could fill the machine's whole swap. A kernel
            // without swap has no such file.
            let (file, value) = ("memory.swap.max", bytes.to_string());
            all.push(Setting { file, value, optional: true });
        }
        all.extend(self.pids.map(|count| must("pids.max", count.to_string())));
        all
    }

    /// Each limit in words.
    pub fn words(&self) -> Vec<String> {
        let mut all = Vec::new();
        all.extend(self.cpu_quota.map(|quota| format!("{} processors", processors(quota))));
        all.extend(self.memory.map(|n| format!("{} of memory, and as much of swap", bytes(n))));
        all.extend(self.pids.map(|count| format!("{count} processes and threads")));
        all.extend(self.io_weight.map(|weight| format!("disk weight {weight}, of others 100")));
        all
    }
}

/// A weight in the scale of the BFQ scheduler, which goes to 1000 only; 100 is
/// the default of both.
pub fn bfq_weight(weight: u16) -> u16 {
    if weight <= 100 { weight } else { 100 + (weight - 100) / 11 }
}

fn processors(quota: u64) -> String {
    let (whole, rest) = (quota / CPU_PERIOD, quota % CPU_PERIOD);
    let text = format!("{whole}.{rest:05}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Bytes in the largest binary unit that gives a whole number: `256 MiB`.
pub fn bytes(count: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |shift: u32| count != 0 && count.trailing_zeros() >= shift;
    match units.into_iter().find(|(shift, _)| fits(*shift)) {
        Some((shift, unit)) => format!("{} {unit}", count >> shift),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_lines_of_files() {
        let limits = Limits {
            cpu_quota: Some(50_000),
            memory: Some(256 << 20),
            pids: Some(64),
            io_weight: Some(50),
        };
        let lines: Vec<_> = limits.settings().into_iter().map(|s| (s.file, s.value)).collect();
        let line = |file, value: &str| (file, value.to_owned());
        assert_eq!(
            lines,
            [
                line("cpu.max", "50000 100000"),
                line("memory.max", "268435456"),
                line("memory.swap.max", "268435456"),
                line("pids.max", "64")
            ]
        );
        let controllers: Vec<_> = limits.controllers().into_iter().map(|(name, _)| name).collect();
        assert_eq!(controllers, ["cpu", "memory", "pids", "io"]);
        assert_eq!(
            limits.words()[..2],
            ["0.5 processors", "256 MiB of memory, and as much of swap"]
        );
    }

    #[test]
    fn nothing_is_needed_for_no_limits() {
        let none = Limits::NONE;
        assert!(none.are_none() && none.controllers().is_empty() && none.settings().is_empty());
        assert!(!Limits { pids: Some(1), ..none }.are_none());
    }

    #[test]
    fn sizes_and_shares_are_shown_as_typed() {
        for (count, text) in [
            (0, "0 B"),
            (1000, "1000 B"),
            (1 << 10, "1 KiB"),
            (1536 << 10, "1536 KiB"),
            (3 << 30, "3 GiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (quota, text) in [(1_000, "0.01"), (150_000, "1.5"), (400_000, "4")] {
            assert_eq!(processors(quota), text);
        }
        assert_eq!([1, 100, 10_000].map(bfq_weight), [1, 100, 1_000]);
    }
}
