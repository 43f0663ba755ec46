//! The serial console and the supervisor's log.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::Context;
use crate::machine::name::MachineName;

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    Serial,
    Supervisor,
}

pub fn path(context: &Context, name: &MachineName, log: Log) -> anyhow::Result<PathBuf> {
    context.store.load(name)?;
    let paths = context.store.paths(name);
    Ok(match log {
        Log::Serial => paths.serial_log(),
        Log::Supervisor => paths.supervisor_log(),
    })
}

/// Copies the log to `out`, and what comes later as long as `goes_on` says so, until
/// `out` is closed. A log that does not exist yet is an empty one.
pub fn copy(
    path: &std::path::Path,
    goes_on: impl Fn() -> bool,
    out: &mut impl Write,
) -> io::Result<()> {
    /// No portable call waits for a file to grow.
    const INTERVAL: Duration = Duration::from_millis(200);
    let mut position = 0;
    loop {
        match std::fs::File::open(path) {
            Ok(mut file) => {
                // A new start begins a new log.
                if file.metadata()?.len() < position {
                    position = 0;
                }
                file.seek(SeekFrom::Start(position))?;
                position += io::copy(&mut file, out)?;
                out.flush()?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        if !goes_on() {
            return Ok(());
        }
        std::thread::sleep(INTERVAL);
    }
}
