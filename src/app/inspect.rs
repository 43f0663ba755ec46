//! What `inspect` shows: podman's keys in podman's order, then ours.

use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::image::Cache;
use crate::machine::config::MachineConfig;
use crate::machine::name::MachineName;
use crate::machine::published::Published;
use crate::machine::status::Status;
use crate::machine::suspended::Reason;
use crate::machine::verified::{Signature, Verified};
use crate::machine::volume::Volume;
use crate::store::{History, RunRecord};

/// One machine, as JSON shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct InspectInfo {
    pub config_path: PathField,
    pub config_dir: PathField,
    pub connection_info: ConnectionInfo,
    pub created: String,
    pub image: ImageInfo,
    pub last_up: String,
    pub name: String,
    pub resources: ResourceInfo,
    #[serde(rename = "SSHConfig")]
    pub ssh_config: SshInfo,
    pub state: &'static str,
    pub user_mode_networking: bool,
    pub rootful: bool,
    pub accelerator: AcceleratorInfo,
    pub mounts: Vec<MountInfo>,
    pub ports: Vec<PortInfo>,
    pub agent: AgentInfo,
    /// Refuses to be removed.
    pub protected: bool,
    /// `asked`, `idle` or `brief`: the next command resumes one that nobody asked
    /// for. Empty for one that is not suspended.
    pub suspend_reason: &'static str,
    /// By name, the oldest first.
    pub snapshots: Vec<String>,
    /// How long nothing may use it before it is suspended, such as `10m`, or
    /// `off`.
    pub idle_suspend: String,
}

/// What runs the guest, and why nothing better does.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct AcceleratorInfo {
    /// `None` while the machine does not run.
    pub in_use: Option<String>,
    #[serde(default)]
    pub rejected: Vec<RejectedInfo>,
    /// As QEMU's `-cpu`; `None` while the machine does not run.
    #[serde(default)]
    pub cpu_model: Option<String>,
}

/// An accelerator that cannot be had.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct RejectedInfo {
    pub name: String,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// podman wraps paths in an object.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PathField {
    pub path: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ConnectionInfo {
    pub podman_socket: Option<PathField>,
    pub podman_pipe: Option<PathField>,
    pub control_socket: PathField,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ImageInfo {
    pub ignition_file_path: PathField,
    pub image_stream: String,
    /// The machine's overlay.
    pub image_path: PathField,
    pub base_path: PathField,
    pub release: String,
    #[serde(rename = "SHA256")]
    pub sha256: String,
    pub verified: VerifiedInfo,
}

/// The checks that the image has passed. All fields are always there, for
/// templates.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct VerifiedInfo {
    /// The file as published.
    #[serde(rename = "SHA256")]
    pub sha256: bool,
    /// The disk in it.
    #[serde(rename = "DiskSHA256")]
    pub disk_sha256: bool,
    pub signature: SignatureInfo,
}

/// An OpenPGP signature of the published file.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SignatureInfo {
    pub good: bool,
    /// Of the certificate behind a good one.
    pub fingerprint: String,
    /// Why none was checked.
    pub reason: String,
}

impl VerifiedInfo {
    fn of(verified: &Verified) -> Self {
        let signature = match &verified.signature {
            Signature::Good { fingerprint } => SignatureInfo {
                good: true,
                fingerprint: fingerprint.clone(),
                reason: String::new(),
            },
            Signature::Unchecked { reason } => {
                SignatureInfo { good: false, fingerprint: String::new(), reason: reason.clone() }
            }
        };
        Self { sha256: verified.sha256, disk_sha256: verified.disk_sha256, signature }
    }
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ResourceInfo {
    #[serde(rename = "CPUs")]
    pub cpus: u32,
    /// GiB.
    pub disk_size: u64,
    /// MiB.
    pub memory: u64,
    /// MiB.
    pub swap: u64,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SshInfo {
    pub identity_path: String,
    pub port: u16,
    pub remote_username: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct AgentInfo {
    pub version: String,
    pub ready: bool,
    /// How far the guest's clock is ahead of the host's, as of the last look.
    pub clock_drift_ms: Option<i64>,
}

/// A directory of the host in the guest.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct MountInfo {
    pub source: String,
    pub target: String,
    /// 9p.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    pub read_only: bool,
}

/// A port of the guest on the host; in this run, when it is running.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PortInfo {
    #[serde(rename = "HostIP")]
    pub host_ip: &'static str,
    pub host_port: u16,
    pub guest_port: u16,
    pub protocol: &'static str,
}

impl MountInfo {
    fn of(volume: &Volume) -> Self {
        Self {
            source: volume.source.clone(),
            target: volume.target.clone(),
            kind: "9p",
            read_only: volume.read_only,
        }
    }
}

impl PortInfo {
    fn of(port: Published) -> Self {
        Self { host_ip: "127.0.0.1", host_port: port.host, guest_port: port.guest, protocol: "tcp" }
    }
}

/// podman's way to say "never".
pub const NEVER: &str = "0001-01-01T00:00:00Z";

pub fn inspect(context: &Context, name: &MachineName) -> anyhow::Result<InspectInfo> {
    let config = context.store.load(name)?;
    let status = context.store.status(name);
    let run = context
        .store
        .run_record(name)
        .filter(|_| !matches!(status, Status::Stopped | Status::Suspended));
    let history = context.store.history(name);
    let base = Cache::open(&context.store.dirs().cache)?.base_path(&config.image);
    Ok(describe(context, &config, &status, run.as_ref(), &history, base))
}

fn describe(
    context: &Context,
    config: &MachineConfig,
    status: &Status,
    run: Option<&RunRecord>,
    history: &History,
    base: PathBuf,
) -> InspectInfo {
    let paths = context.store.paths(&config.name);
    let path = |path: PathBuf| PathField { path: path.display().to_string() };
    let agent = run.and_then(|run| run.agent.as_ref());
    InspectInfo {
        config_path: path(paths.config()),
        config_dir: path(paths.config_dir()),
        connection_info: ConnectionInfo {
            podman_socket: None,
            podman_pipe: None,
            control_socket: path(paths.control_socket()),
        },
        created: time(history.created),
        image: ImageInfo {
            ignition_file_path: path(paths.ignition()),
            image_stream: config
                .image
                .stream
                .clone()
                .unwrap_or_else(|| config.image.source.clone()),
            image_path: path(paths.overlay()),
            base_path: path(base),
            release: config.image.release.clone().unwrap_or_default(),
            sha256: config.image.sha256.clone(),
            verified: VerifiedInfo::of(&config.image.verified),
        },
        last_up: time(history.last_up),
        name: config.name.to_string(),
        resources: ResourceInfo {
            cpus: config.resources.cpus,
            disk_size: config.resources.disk_size.0,
            memory: config.resources.memory.0,
            swap: config.resources.swap.0,
        },
        ssh_config: SshInfo {
            identity_path: paths.identity().display().to_string(),
            port: ssh_port(config, run, history),
            remote_username: config.ssh.username.clone(),
        },
        state: status.word(),
        user_mode_networking: true,
        rootful: config.rootful,
        accelerator: run.map(accelerator).unwrap_or_default(),
        mounts: config.volumes.iter().map(MountInfo::of).collect(),
        ports: run
            .map_or(&config.ports, |run| &run.ports)
            .iter()
            .copied()
            .map(PortInfo::of)
            .collect(),
        agent: AgentInfo {
            version: agent.map(|agent| agent.version.clone()).unwrap_or_default(),
            ready: agent.is_some() && *status == Status::Running,
            clock_drift_ms: run.and_then(|run| run.clock_drift_ms),
        },
        protected: config.protected,
        suspend_reason: reason(context, &config.name, status),
        snapshots: snapshots(context, &config.name),
        idle_suspend: config.idle_suspend.to_string(),
    }
}

/// What cannot be read is for `snapshot list` to tell.
fn snapshots(context: &Context, name: &MachineName) -> Vec<String> {
    let found = context.store.snapshots(name).map(|(found, _)| found).unwrap_or_default();
    found.iter().map(|snapshot| snapshot.name.to_string()).collect()
}

/// Why it is suspended; empty where it is not.
pub fn reason(context: &Context, name: &MachineName, status: &Status) -> &'static str {
    let suspended = *status == Status::Suspended;
    let reason = suspended.then(|| context.store.suspend_reason(name)).flatten();
    reason.map_or("", Reason::word)
}

/// What the run record says; another version's may say something else.
fn accelerator(run: &RunRecord) -> AcceleratorInfo {
    serde_json::from_value(run.accelerator.clone()).unwrap_or_default()
}

/// The port of this run, else of the last one, else the reserved one.
pub fn ssh_port(config: &MachineConfig, run: Option<&RunRecord>, history: &History) -> u16 {
    run.map(|run| run.ssh_port).or(history.ssh_port).unwrap_or(config.ssh.port)
}

/// RFC 3339 with nanoseconds.
pub fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), |time| format!("{time:.9}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_verified_has_all_its_keys() {
        let fingerprint = "AB".to_owned();
        for (signature, expected) in [
            (
                Signature::Good { fingerprint },
                json!({"Good": true, "Fingerprint": "AB", "Reason": ""}),
            ),
            (
                Signature::unchecked("none"),
                json!({"Good": false, "Fingerprint": "", "Reason": "none"}),
            ),
        ] {
            let verified = Verified { sha256: true, disk_sha256: false, signature };
            let shown = serde_json::to_value(VerifiedInfo::of(&verified)).unwrap();
            let whole = json!({"SHA256": true, "DiskSHA256": false, "Signature": expected});
            assert_eq!(shown, whole);
            let kept = serde_json::to_string(&verified).unwrap();
            assert_eq!(serde_json::from_str::<Verified>(&kept).unwrap(), verified);
        }
    }

    #[test]
    fn times_have_nanoseconds_and_never_is_podmans() {
        let when = Timestamp::from_nanosecond(1_700_000_000_120_000_000).unwrap();
        assert_eq!(time(Some(when)), "2023-11-14T22:13:20.120000000Z");
        assert_eq!(time(None), NEVER);
    }
}
