//! What /proc tells about a process (proc(5)).

use std::fs;

use anyhow::{Context as _, anyhow};

/// Linux shows times to programs in hundredths of a second on every
/// architecture that we run on (`USER_HZ`).
const TICKS: f64 = 100.0;

/// A process and the words it was started with.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    pub argv: Vec<String>,
}

/// The processes whose words are wanted ones.
pub fn find(wanted: impl Fn(&[String]) -> bool) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let processes = pids.filter_map(|pid| Some(Process { pid, argv: argv(pid)? }));
    processes.filter(|process| wanted(&process.argv)).collect()
}

/// `None` when it is gone.
fn argv(pid: i32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = bytes.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into());
    let mut words: Vec<String> = words.collect();
    // The last word ends with a NUL, too.
    words.pop();
    Some(words)
}

/// Whether it was started with this `NAME=VALUE` in its environment.
pub fn has_variable(pid: i32, variable: &str) -> bool {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes.split(|&byte| byte == 0).any(|entry| entry == variable.as_bytes())
}

/// User and system time of all its threads so far, in seconds.
pub fn cpu_seconds(pid: i32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("reading the times of process {pid}"))?;
    cpu_of(&stat).ok_or_else(|| anyhow!("no times in \"{}\"", stat.trim()))
}

/// Fields 14 and 15. The second one, the name, may have spaces and
/// parentheses itself.
fn cpu_of(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

/// Resident memory in bytes.
pub fn rss(pid: i32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("reading the memory of process {pid}"))?;
    rss_of(&status).ok_or_else(|| anyhow!("process {pid} has no VmRSS"))
}

/// Memory in bytes, what it shares with others by its part.
pub fn pss(pid: i32) -> anyhow::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .with_context(|| format!("reading the memory of process {pid}"))?;
    kib_of(&rollup, "Pss:").ok_or_else(|| anyhow!("process {pid} has no Pss"))
}

/// Resident memory in bytes, from the text of /proc/PID/status.
pub fn rss_of(status: &str) -> Option<u64> {
    kib_of(status, "VmRSS:")
}

/// The most resident memory there ever was, in bytes, from the same text.
pub fn peak_of(status: &str) -> Option<u64> {
    kib_of(status, "VmHWM:")
}

fn kib_of(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
#[allow(dead_code, unused_imports)] // the benchmark itself has no harness: tests/bench.rs
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 9 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_of(stat).map(f64::to_bits), Some(3f64.to_bits()));
        assert_eq!(cpu_of("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(rss_of("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n"), Some(2 << 20));
        assert_eq!(rss_of("Name:\tkthreadd\n"), None);
    }
}
