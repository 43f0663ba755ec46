//! The disposable records of a machine, and the status they add up to.

use std::path::Path;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{StoreError, io_error};
use crate::fs::{Access, write_atomic};
use crate::machine::published::Published;
use crate::machine::status::Status;

/// Dates of a machine. Losing them costs the dates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct History {
    pub created: Option<Timestamp>,
    /// When the machine was last known to be up.
    pub last_up: Option<Timestamp>,
    /// Moved on when the reserved port was taken at a start.
    #[serde(rename = "SSHPort")]
    pub ssh_port: Option<u16>,
    /// The disk is larger than the guest has seen.
    pub grown: bool,
    /// The playbook has been run, or could not be.
    pub played: bool,
}

/// Where a run has got to. Only believed while its supervisor lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Starting,
    Running,
    Stopping,
}

/// Facts of one run, written by its supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunRecord {
    pub phase: Phase,
    pub supervisor_pid: u32,
    /// For messages only: identity is proven by lock and QMP.
    pub qemu_pid: u32,
    #[serde(rename = "SSHPort")]
    pub ssh_port: u16,
    /// The published ports as they are in this run.
    #[serde(default)]
    pub ports: Vec<Published>,
    pub started: Timestamp,
    /// The accelerator in use and why better ones are not, as `inspect` shows.
    pub accelerator: Value,
    #[serde(default)]
    pub agent: Option<AgentRecord>,
    /// How far the guest's clock was ahead of the host's, in milliseconds.
    #[serde(default)]
    pub clock_drift_ms: Option<i64>,
    /// How often the guest began anew in this run.
    #[serde(default)]
    pub resets: u32,
}

/// The agent that answered on the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AgentRecord {
    pub version: String,
    #[serde(rename = "SHA256")]
    pub sha256: String,
    #[serde(rename = "BootID")]
    pub boot_id: String,
}

/// Reads a record; one that is missing or damaged is worth nothing.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

pub(super) fn write(path: &Path, record: &impl Serialize) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec_pretty(record).expect("plain fields serialize");
    write_atomic(path, &bytes, Access::Owner).map_err(io_error("writing", path))
}

/// What is known, added up. The locks are held by the kernel, so they cannot
/// be stale; the record is believed only as far as they go.
pub(super) fn derive(
    supervised: bool,
    vm_lives: bool,
    run: Option<RunRecord>,
    control_exists: bool,
) -> Status {
    match (supervised, vm_lives) {
        (true, _) => match run.map(|run| run.phase) {
            Some(Phase::Running | Phase::Stopping) => Status::Running,
            Some(Phase::Starting) | None => Status::Starting,
        },
        // Nobody supervises it, but the next command will find it again.
        (false, true) if control_exists => Status::Running,
        (false, true) => {
            let pid = run.map_or_else(|| "unknown".into(), |run| run.qemu_pid.to_string());
            let lost = format!(
                "control lost: its QEMU (pid {pid}) runs, but its sockets are gone; \
                 `nsvm machine stop --force` ends exactly that VM"
            );
            Status::Broken { reasons: vec![lost] }
        }
        (false, false) => Status::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(phase: Phase) -> RunRecord {
        RunRecord {
            phase,
            supervisor_pid: 1,
            qemu_pid: 2,
            ssh_port: 3,
            ports: Vec::new(),
            started: Timestamp::UNIX_EPOCH,
            accelerator: Value::Null,
            agent: None,
            clock_drift_ms: None,
            resets: 0,
        }
    }

    #[test]
    fn a_record_without_its_supervisor_means_nothing() {
        for phase in [Phase::Starting, Phase::Running, Phase::Stopping] {
            assert_eq!(derive(false, false, Some(run(phase)), true), Status::Stopped);
        }
    }

    #[test]
    fn a_supervised_machine_is_what_its_supervisor_says() {
        assert_eq!(derive(true, true, Some(run(Phase::Running)), true), Status::Running);
        assert_eq!(derive(true, true, Some(run(Phase::Starting)), true), Status::Starting);
        assert_eq!(derive(true, false, None, false), Status::Starting);
    }

    #[test]
    fn a_vm_that_lost_its_supervisor_still_runs() {
        assert_eq!(derive(false, true, None, true), Status::Running);
        let lost = derive(false, true, Some(run(Phase::Running)), false);
        assert!(matches!(lost, Status::Broken { reasons } if reasons[0].contains("pid 2")));
    }
}
