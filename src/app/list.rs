//! What `list` shows.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use super::inspect::{reason, ssh_port, time};
use crate::machine::status::Status;
use crate::store::StoreError;

/// One machine, with podman's keys; sizes are strings of bytes as podman's.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    pub name: String,
    pub default: bool,
    pub created: String,
    pub running: bool,
    pub starting: bool,
    pub suspended: bool,
    /// `asked`, `idle` or `brief`; empty for one that is not suspended.
    pub suspend_reason: &'static str,
    pub last_up: String,
    pub stream: String,
    #[serde(rename = "VMType")]
    pub vm_type: &'static str,
    #[serde(rename = "CPUs")]
    pub cpus: u32,
    pub memory: String,
    pub swap: String,
    pub disk_size: String,
    pub port: u16,
    pub remote_username: String,
    pub identity_path: String,
    pub user_mode_networking: bool,
    /// Refuses to be removed.
    pub protected: bool,
    /// For the table.
    #[serde(skip)]
    pub times: Times,
}

/// The dates behind the texts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    pub created: Option<Timestamp>,
    pub last_up: Option<Timestamp>,
}

/// Every machine, running ones first, then by when they were last up; and
/// what could not be read.
pub fn list(context: &Context) -> Result<(Vec<Listed>, Vec<StoreError>), StoreError> {
    let store = &context.store;
    let (configs, bad) = store.list()?;
    let default = store.default_name();
    let mut listed: Vec<Listed> = configs
        .iter()
        .map(|config| {
            let status = store.status(&config.name);
            let history = store.history(&config.name);
            let live = matches!(status, Status::Running | Status::Starting);
            let run = store.run_record(&config.name).filter(|_| live);
            Listed {
                name: config.name.to_string(),
                default: config.name == default,
                created: time(history.created),
                running: status == Status::Running,
                starting: status == Status::Starting,
                suspended: status == Status::Suspended,
                suspend_reason: reason(context, &config.name, &status),
                last_up: time(history.last_up),
                stream: config.image.stream.clone().unwrap_or_else(|| config.image.source.clone()),
                vm_type: "qemu",
                cpus: config.resources.cpus,
                memory: config.resources.memory.bytes().to_string(),
                swap: config.resources.swap.bytes().to_string(),
                disk_size: config.resources.disk_size.bytes().to_string(),
                port: ssh_port(config, run.as_ref(), &history),
                remote_username: config.ssh.username.clone(),
                identity_path: store.paths(&config.name).identity().display().to_string(),
                user_mode_networking: true,
                protected: config.protected,
                times: Times { created: history.created, last_up: history.last_up },
            }
        })
        .collect();
    listed.sort_by_key(|machine| {
        (std::cmp::Reverse(machine.running), std::cmp::Reverse(machine.times.last_up))
    });
    Ok((listed, bad))
}
