//! The supervisor's hold on its VM: the child process, or the QEMU that an
//! earlier supervisor left, and its monitor.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fs::is_locked;
use crate::host;
use crate::qemu::process::QemuProcess;
use crate::qemu::qmp::Qmp;

/// QEMU answers a monitor command within this time.
pub const QMP_PATIENCE: Duration = Duration::from_secs(5);

/// QEMU closes its monitor a moment before it is gone.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// What an attempt to end the VM led to at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Going,
    Gone,
}

pub struct Vm {
    process: Option<QemuProcess>,
    monitor: Option<Arc<Qmp>>,
    /// Held by QEMU as long as it lives.
    lock: PathBuf,
    uuid: String,
    /// The pid that an earlier supervisor noted.
    adopted: Option<u32>,
}

impl Vm {
    pub fn new(lock: PathBuf, uuid: String, adopted: Option<u32>) -> Self {
        Self { process: None, monitor: None, lock, uuid, adopted }
    }

    /// One that was started before has ended.
    pub fn started(&mut self, process: QemuProcess) {
        if let Some(mut ended) = self.process.replace(process) {
            let _ = ended.try_exit();
        }
    }

    pub fn monitor(&self) -> Option<Arc<Qmp>> {
        self.monitor.clone()
    }

    /// The monitor has proven by its UUID that it is this VM's.
    pub fn monitored(&mut self, monitor: Arc<Qmp>) {
        self.monitor = Some(monitor);
    }

    /// Whether no process holds the VM's lock; in doubt it lives.
    pub fn is_gone(&self) -> bool {
        !is_locked(&self.lock).unwrap_or(true)
    }

    /// The same at the end of a run: what a process of ours had open, the lock
    /// too, may be closed a moment after it was killed (seen under Wine).
    pub async fn has_gone(&self) -> bool {
        let end = Instant::now() + LAST_MOMENT;
        while !self.is_gone() {
            if self.process.is_none() || Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    pub fn press_power_button(&self) {
        self.ask("system_powerdown");
    }

    /// Asks QEMU to end; kills it where nobody can be asked.
    pub fn quit(&mut self) -> Fate {
        if self.monitor.is_none() {
            return self.kill();
        }
        self.ask("quit");
        Fate::Going
    }

    /// Only what is certainly ours is killed: our child, or an adopted QEMU
    /// that has this machine's UUID among its arguments.
    pub fn kill(&mut self) -> Fate {
        if let Some(process) = &mut self.process {
            if let Err(e) = process.kill() {
                tracing::warn!("killing QEMU: {e}");
            }
        } else if let (Some(pid), Some(_)) = (self.adopted, &self.monitor) {
            let killed = host::kill_process_with_argument(pid, &self.uuid);
            tracing::warn!(?killed, "killed the adopted QEMU");
        }
        Fate::Gone
    }

    /// The monitor's connection is closed: waits for the process's end.
    pub async fn await_exit(&mut self) {
        self.monitor = None;
        let end = Instant::now() + LAST_MOMENT;
        while !self.has_exited() {
            if Instant::now() >= end {
                tracing::warn!("QEMU closed its monitor but does not end: killing it");
                self.kill();
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn has_exited(&mut self) -> bool {
        match &mut self.process {
            Some(process) => matches!(process.try_exit(), Ok(Some(_)) | Err(_)),
            None => self.is_gone(),
        }
    }

    /// QMP calls block, so they never run on the supervisor's one thread.
    fn ask(&self, command: &'static str) {
        let Some(monitor) = self.monitor.clone() else { return };
        std::thread::spawn(move || {
            if let Err(e) = monitor.execute(command, Value::Null, QMP_PATIENCE) {
                tracing::warn!("QMP {command}: {e}");
            }
        });
    }
}
