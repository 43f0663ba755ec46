//! The virtio ports that the host gave this guest.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// By the kernel's own names: udev's links are not everywhere.
const PORTS: &str = "/sys/class/virtio-ports";

/// Where a port's device is.
#[derive(Debug)]
pub struct Port(PathBuf);

impl Port {
    pub fn find(name: &str) -> io::Result<Self> {
        let is_it = |dir: &PathBuf| {
            fs::read_to_string(dir.join("name")).is_ok_and(|found| found.trim() == name)
        };
        let dirs = fs::read_dir(PORTS).into_iter().flatten().flatten().map(|entry| entry.path());
        let found = dirs.filter(is_it).find_map(|dir| Some(dir.file_name()?.to_owned()));
        let device = found.ok_or_else(|| {
            let text = format!("this guest has no port {name}");
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
        Ok(Self(PathBuf::from("/dev").join(device)))
    }

    /// One process at a time has it.
    pub fn open(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.0)
    }

    /// The same, for who waits elsewhere.
    pub fn open_nonblocking(&self) -> io::Result<File> {
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(&self.0)
    }
}
