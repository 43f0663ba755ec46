//! A short-lived child that never outlives its purpose.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::host;

/// Killed when dropped, and by the kernel when this process dies (Linux).
#[derive(Debug)]
pub struct Bounded {
    child: Child,
    end: Instant,
}

impl Bounded {
    /// Starts `command`; its time begins now.
    pub fn start(command: &mut Command, deadline: Duration) -> io::Result<Self> {
        host::hide_window(command);
        host::end_with_parent(command);
        let end = Instant::now() + deadline;
        Ok(Self { child: command.spawn()?, end })
    }

    /// Its exit status, or `None` at the deadline. A QEMU that fails does so
    /// within tens of milliseconds; asking every 2 ms costs next to nothing.
    pub fn wait(&mut self) -> io::Result<Option<ExitStatus>> {
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() >= self.end {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        // Both fail only for one that has already been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
