//! The `*.events` files of a group: lines of a name and a number.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::pread;
use tokio::io::Interest;

use crate::agent::sys;

/// The number behind `name`.
pub fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(found, _)| *found == name)?.1.parse().ok()
}

/// Waits until no process is in the group or below it, or the group is gone.
pub async fn until_empty(group: &Path) -> io::Result<()> {
    let events = match File::open(group.join("cgroup.events")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        events => sys::watch(OwnedFd::from(events?), Interest::PRIORITY)?,
    };
    loop {
        // Reading makes the next change an event.
        let mut bytes = [0; 256];
        let count = match pread(events.get_ref(), &mut bytes, 0) {
            Err(rustix::io::Errno::NODEV) => return Ok(()),
            count => count?,
        };
        let text = String::from_utf8_lossy(&bytes[..count]);
        if value(&text, "populated") != Some(1) {
            return Ok(());
        }
        events.ready(Interest::PRIORITY).await?.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_whole() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(value(text, "oom_kill"), Some(2));
        assert_eq!(value(text, "oom"), Some(3));
        assert_eq!(value(text, "max"), None);
        assert_eq!(value("", "oom"), None);
    }
}
