//! The disposable records of a machine, and the status they add up to.

use std::path::Path;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{StoreError, io_error};
use crate::fs::{Access, write_atomic};
use crate::machine::build::Build;
use crate::machine::published::Published;
use crate::machine::status::Status;
use crate::machine::suspended::Hardware;

/// Dates of a machine. Losing them costs the dates, and a suspended state.
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
    /// Times that a guest began to run on the machine's disk. A suspended
    /// state knows its number, so losing it costs that state too.
    pub runs: u64,
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
    /// What QEMU was started with: whoever suspends it needs to know.
    #[serde(default)]
    pub hardware: Option<Hardware>,
    /// Which nsvm the supervisor is; none: an older one than this field.
    #[serde(default)]
    pub supervisor: Option<Build>,
    /// The guest runs commands, and its sshd has not been heard of yet.
    #[serde(default)]
    pub sshd_awaited: bool,
}

#[cfg(test)]
impl RunRecord {
    /// One of a plain run, by process 1, with QEMU as process 2.
    pub(crate) fn example(phase: Phase, supervisor: Option<Build>) -> Self {
        Self {
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
            hardware: None,
            supervisor,
            sshd_awaited: false,
        }
    }
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

/// What the kernel's locks and the machine's files say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub supervised: bool,
    pub vm_lives: bool,
    /// QEMU's monitor has its socket.
    pub control: bool,
    /// A memory waits in its file.
    pub suspended: bool,
}

/// What is known, added up. The locks are held by the kernel, so they cannot
/// be stale; the record is believed only as far as they go.
pub(super) fn derive(seen: Seen, run: Option<RunRecord>) -> Status {
    if seen.supervised {
        return match run.map(|run| run.phase) {
            Some(Phase::Running | Phase::Stopping) => Status::Running,
            Some(Phase::Starting) | None => Status::Starting,
        };
    }
    match seen {
        // A QEMU that is left over then waits for nothing: its guest does not
        // run, and the next start ends it.
        Seen { suspended: true, .. } => Status::Suspended,
        Seen { vm_lives: false, .. } => Status::Stopped,
        // Nobody supervises it, but the next command will find it again.
        Seen { control: true, .. } => Status::Running,
        Seen { control: false, .. } => {
            let pid = run.map_or_else(|| "unknown".into(), |run| run.qemu_pid.to_string());
            let lost = format!(
                "control lost: its QEMU (pid {pid}) runs, but its sockets are gone; \
                 `nsvm machine stop --force` ends exactly that VM"
            );
            Status::Broken { reasons: vec![lost] }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(phase: Phase) -> RunRecord {
        RunRecord::example(phase, None)
    }

    #[test]
    fn a_record_without_its_supervisor_means_nothing() {
        for phase in [Phase::Starting, Phase::Running, Phase::Stopping] {
            assert_eq!(
                derive(Seen { control: true, ..Seen::default() }, Some(run(phase))),
                Status::Stopped
            );
        }
    }

    #[test]
    fn a_supervised_machine_is_what_its_supervisor_says() {
        assert_eq!(
            derive(
                Seen { supervised: true, vm_lives: true, control: true, ..Seen::default() },
                Some(run(Phase::Running))
            ),
            Status::Running
        );
        assert_eq!(
            derive(
                Seen { supervised: true, vm_lives: true, control: true, ..Seen::default() },
                Some(run(Phase::Starting))
            ),
            Status::Starting
        );
        assert_eq!(derive(Seen { supervised: true, ..Seen::default() }, None), Status::Starting);
    }

    #[test]
    fn a_vm_that_lost_its_supervisor_still_runs() {
        assert_eq!(
            derive(Seen { vm_lives: true, control: true, ..Seen::default() }, None),
            Status::Running
        );
        let lost = derive(Seen { vm_lives: true, ..Seen::default() }, Some(run(Phase::Running)));
        assert!(matches!(lost, Status::Broken { reasons } if reasons[0].contains("pid 2")));
    }

    #[test]
    fn a_state_in_a_file_counts_when_nobody_is_at_work() {
        assert_eq!(derive(Seen { suspended: true, ..Seen::default() }, None), Status::Suspended);
        // Its supervisor died before it had ended QEMU.
        assert_eq!(
            derive(
                Seen { vm_lives: true, control: true, suspended: true, ..Seen::default() },
                Some(run(Phase::Running))
            ),
            Status::Suspended
        );
        // It is being resumed.
        assert_eq!(
            derive(
                Seen { supervised: true, suspended: true, ..Seen::default() },
                Some(run(Phase::Starting))
            ),
            Status::Starting
        );
        // It is being suspended: the last step is to end QEMU.
        assert_eq!(
            derive(
                Seen { supervised: true, vm_lives: true, control: true, suspended: true },
                Some(run(Phase::Stopping))
            ),
            Status::Running
        );
    }
}
