//! Files that keep namespaces alive, by bind mounts.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::mount::{MsFlags, mount};
use nix::unistd::Pid;

use crate::agent::failure::failed;
use crate::agent::report::{Report, ReportTo};
use crate::agent::steps::bind_text;
use crate::namespace::enter::KindFile;
use crate::protocol::outcome::FailedStep;

/// Binds a file to a namespace of process `pid` (or `self`).
pub fn bind(pid: &str, file: &KindFile) -> io::Result<()> {
    let source = format!("/proc/{pid}/ns/{}", file.kind.proc_name_for_children());
    let target = OsStr::from_bytes(&file.path);
    let none = None::<&str>;
    Ok(mount(Some(source.as_str()), target, none, MsFlags::MS_BIND, none)?)
}

/// Binds all for `target`; tells `reports` what fails.
pub fn bind_all(pid: &str, files: &[KindFile], reports: ReportTo<'_>) -> bool {
    for file in files {
        if let Err(e) = bind(pid, file) {
            let failure = failed(FailedStep::Namespaces, bind_text(pid, file), &e);
            reports.tell(&Report::Failed(failure));
            return false;
        }
    }
    true
}

/// The same for a process by its number.
pub fn bind_for(target: Pid, files: &[KindFile], reports: ReportTo<'_>) -> bool {
    bind_all(&target.to_string(), files, reports)
}
