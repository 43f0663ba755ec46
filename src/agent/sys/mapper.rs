//! The process that writes id maps from outside a user namespace: more than
//! one id needs privilege there.

use std::io;
use std::path::Path;

use nix::unistd::{self, Pid};

use super::write_file;
use crate::agent::failure::failed;
use crate::agent::report::{Report, ReportTo};
use crate::agent::steps::WriteError;
use crate::namespace::idmap::{self, IdRange};
use crate::namespace::plan::IdMaps;
use crate::protocol::outcome::FailedStep;

/// Writes the maps of `target`; tells `reports` what fails.
/// Root writes the maps itself, others ask newuidmap(1) and newgidmap(1).
pub fn write_maps(target: Pid, maps: &IdMaps, reports: ReportTo<'_>) -> bool {
    let write = |file: &str, tool: &str, ranges: &[IdRange]| {
        let lines = idmap::lines(ranges);
        if ranges.is_empty() {
            Ok(true)
        } else if unistd::geteuid().is_root() {
            write_map(&format!("/proc/{target}/{file}"), &lines).map(|()| true)
        } else {
            run_tool(tool, target, &lines)
        }
    };
    let users = write("uid_map", "newuidmap", &maps.users);
    let both = users.and_then(|done| Ok(done && write("gid_map", "newgidmap", &maps.groups)?));
    both.unwrap_or_else(|(what, error)| {
        reports.tell(&Report::Failed(failed(FailedStep::Namespaces, what, &error)));
        false
    })
}

fn write_map(path: &str, lines: &str) -> Result<(), (String, io::Error)> {
    write_file(path, lines).map_err(|e| match e {
        WriteError::Open(error) => (format!("failed to open {path}"), error),
        WriteError::Write(error) => (format!("failed to write {path}"), error),
    })
}

fn run_tool(tool: &str, target: Pid, lines: &str) -> Result<bool, (String, io::Error)> {
    let found = ["/usr/bin", "/bin", "/usr/local/bin"].map(|dir| format!("{dir}/{tool}"));
    let path = found.iter().find(|path| Path::new(path).exists()).unwrap_or(&found[0]);
    let numbers = lines.split_whitespace();
    let status = std::process::Command::new(path).arg(target.to_string()).args(numbers).status();
    status.map(|s| s.success()).map_err(|e| (format!("failed to execute {tool}"), e))
}
