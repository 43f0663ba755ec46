//! The line that says what the figures were measured on.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::children;
use super::settings::Settings;

const PATIENCE: Duration = Duration::from_secs(20);

/// The load average of the last minute.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// CPU, kernel, QEMU, nsvm, date, and how busy the host was at the start.
pub fn line(settings: &Settings, qemu: Option<&Path>, load: &str) -> anyhow::Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cores = std::thread::available_parallelism()?;
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let qemu = qemu.map(version).transpose()?.map_or_else(String::new, |qemu| format!("{qemu}; "));
    Ok(format!(
        "{}, {cores} cores; Linux {}; {qemu}{}; {date}; load at start {load}",
        cpu_model(&cpuinfo),
        kernel.trim(),
        version(&settings.nsvm)?,
    ))
}

fn cpu_model(cpuinfo: &str) -> &str {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or("unknown CPU", |(_, model)| model.trim())
}

/// The first line of `--version`, without the packager's part.
fn version(program: &Path) -> anyhow::Result<String> {
    let ran = children::run(Command::new(program).arg("--version"), PATIENCE)?;
    let line = ran.stdout.lines().next().unwrap_or_default();
    Ok(line.split(" (").next().unwrap_or(line).to_owned())
}

#[cfg(test)]
#[allow(dead_code, unused_imports)] // the benchmark itself has no harness: tests/bench.rs
mod tests {
    use super::*;

    #[test]
    fn a_cpu_without_a_name_is_unknown() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: Some CPU\n"), "Some CPU");
        assert_eq!(cpu_model("processor\t: 0\n"), "unknown CPU");
    }
}
