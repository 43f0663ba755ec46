//! As much of QMP as it takes to save and load a bare guest.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::children;

/// QEMU answers at once.
const ANSWER: Duration = Duration::from_secs(30);
/// The memory of a guest, on a busy host.
const MOVE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(2);

/// A connection to QEMU's monitor.
#[derive(Debug)]
pub struct Monitor {
    lines: BufReader<UnixStream>,
}

impl Monitor {
    pub fn new(stream: UnixStream) -> anyhow::Result<Self> {
        stream.set_read_timeout(Some(ANSWER))?;
        let mut monitor = Self { lines: BufReader::new(stream) };
        monitor.ask("qmp_capabilities", Value::Null)?;
        Ok(monitor)
    }

    /// What it returns; the greeting and events are passed over.
    pub fn ask(&mut self, command: &str, arguments: Value) -> anyhow::Result<Value> {
        let mut asked = json!({ "execute": command });
        if !arguments.is_null() {
            asked["arguments"] = arguments;
        }
        writeln!(self.lines.get_ref(), "{asked}")?;
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).context("reading QEMU's monitor")?;
            ensure!(read > 0, "QEMU hung up on {command}");
            let mut told: Value = serde_json::from_str(&line)?;
            if let Some(error) = told.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
            if let Some(value) = told.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Waits until a question has an answer of this kind.
    pub fn wait(
        &mut self,
        command: &str,
        mut is_it: impl FnMut(&str) -> bool,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + MOVE;
        loop {
            let told = self.ask(command, Value::Null)?;
            if is_it(told["status"].as_str().unwrap_or_default()) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "it is not done in time: {told}");
            children::sleep(POLL)?;
        }
    }
}
