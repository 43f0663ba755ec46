//! What is kept on the disk of a run and of its machine's past.

use jiff::Timestamp;
use serde_json::Value;

use super::Driver;
use crate::app::{Context, hand_over};
use crate::machine::config::MachineConfig;
use crate::store::{Phase, RunRecord};
use crate::supervisor::lifecycle::Failure;

/// The run's, until more of it is known.
pub(super) fn first_record(context: &Context, config: &MachineConfig, adopting: bool) -> RunRecord {
    let found = context.store.run_record(&config.name).filter(|_| adopting);
    RunRecord {
        phase: if adopting { Phase::Running } else { Phase::Starting },
        supervisor_pid: std::process::id(),
        supervisor: Some(hand_over::own(context)),
        ..found.unwrap_or(RunRecord {
            phase: Phase::Starting,
            supervisor_pid: 0,
            qemu_pid: 0,
            ssh_port: config.ssh.port,
            ports: config.ports.clone(),
            started: Timestamp::now(),
            accelerator: Value::Null,
            agent: None,
            clock_drift_ms: None,
            resets: 0,
            hardware: None,
            supervisor: None,
            sshd_awaited: false,
        })
    }
}

impl Driver {
    /// A record that cannot be written is tried again with the next one, at the
    /// latest when the guest's clock is read.
    pub(super) fn record(&mut self) {
        let written = self.write_record();
        self.unwritten = written.is_err();
        if let Err(why) = written {
            tracing::warn!("{}", why.message);
        }
    }

    pub(super) fn write_record(&self) -> Result<(), Failure> {
        let written = self.context.store.save_run_record(&self.config.name, &self.run);
        written.map_err(|e| Failure { message: e.to_string(), hint: e.hint() })
    }

    /// The machine is or was up just now, on this port.
    pub(super) fn touch_history(&self) {
        let mut history = self.context.store.history(&self.config.name);
        history.last_up = Some(Timestamp::now());
        history.ssh_port = Some(self.run.ssh_port);
        if let Err(e) = self.context.store.save_history(&self.config.name, &history) {
            tracing::warn!("writing the history: {e}");
        }
    }
}
