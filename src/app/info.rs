//! What this host offers machines: podman's keys first, then ours.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Context;
use crate::control::message::PROTOCOL;
use crate::host;
use crate::machine::config::Arch;
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::qemu::accel::Host;
use crate::qemu::facts::{self, Facts, FactsError};
use crate::qemu::locate::Wanted;

/// All of it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    pub host: HostInfo,
    pub version: VersionInfo,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct HostInfo {
    /// As Go names it: amd64, arm64.
    pub arch: &'static str,
    /// A machine that is running, else the default one if there is one.
    pub current_machine: String,
    /// Empty where there is no machine of that name.
    pub default_machine: String,
    /// Where this run's sockets and records are.
    pub events_dir: String,
    pub machine_config_dir: String,
    pub machine_image_dir: String,
    /// Of the current machine, with a capital; empty where there is none.
    pub machine_state: String,
    pub number_of_machines: usize,
    /// As Go names it: linux, darwin, windows.
    #[serde(rename = "OS")]
    pub os: &'static str,
    #[serde(rename = "VMType")]
    pub vm_type: &'static str,
    #[serde(rename = "CPUs")]
    pub cpus: u32,
    /// Bytes; zero where the host does not tell.
    pub memory: u64,
    pub accelerator: Value,
    #[serde(rename = "QEMU")]
    pub qemu: QemuInfo,
    pub data_dir: String,
    pub state_dir: String,
    pub settings_file: String,
}

#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct QemuInfo {
    pub path: String,
    pub version: String,
    /// Empty where QEMU's own is right.
    pub firmware: String,
    /// Why no machine can be started; empty where one can.
    pub problem: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct VersionInfo {
    /// Of the control endpoint's protocol (docs/api.md).
    #[serde(rename = "APIVersion")]
    pub api_version: String,
    pub version: &'static str,
    pub os_arch: String,
    pub os: &'static str,
    /// The guest agent that would be installed; empty where it is missing.
    pub agent: String,
}

/// Looks at the host. An accelerator is probed unless that is known.
pub fn info(context: &Context, progress: &dyn Progress) -> anyhow::Result<Info> {
    let store = &context.store;
    let dirs = store.dirs();
    let (configs, _) = store.list()?;
    let default = store.default_name();
    let status = |name: &MachineName| store.status(name);
    let is_up = |name: &&MachineName| matches!(status(name), Status::Running | Status::Starting);
    let names = configs.iter().map(|config| &config.name);
    let default_first = names.clone().filter(|name| **name == default).chain(names);
    let known = configs.iter().any(|config| config.name == default).then_some(&default);
    let current = default_first.into_iter().find(is_up).or(known);
    let shown = |path: PathBuf| path.display().to_string();
    let (qemu, accelerator) = qemu(survey(context, progress));
    let (os, arch) = (go_os(std::env::consts::OS), go_arch(Arch::host()));
    Ok(Info {
        host: HostInfo {
            arch,
            current_machine: current.map(ToString::to_string).unwrap_or_default(),
            default_machine: known.map(ToString::to_string).unwrap_or_default(),
            events_dir: shown(dirs.runtime.clone()),
            machine_config_dir: shown(dirs.machines()),
            machine_image_dir: shown(dirs.cache.clone()),
            machine_state: current.map(|name| capital(status(name).word())).unwrap_or_default(),
            number_of_machines: configs.len(),
            os,
            vm_type: "qemu",
            cpus: host::cpus(),
            memory: host::memory_bytes().unwrap_or_default(),
            accelerator,
            qemu,
            data_dir: shown(dirs.data.clone()),
            state_dir: shown(dirs.state.clone()),
            settings_file: shown(dirs.settings()),
        },
        version: VersionInfo {
            version: env!("CARGO_PKG_VERSION"),
            api_version: PROTOCOL.to_string(),
            os_arch: format!("{os}/{arch}"),
            os,
            agent: context.agent_for(Arch::host()).map(shown).unwrap_or_default(),
        },
    })
}

const fn go_arch(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
    }
}

fn go_os(os: &'static str) -> &'static str {
    if os == "macos" { "darwin" } else { os }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// QEMU for guests like this host.
pub fn survey(context: &Context, progress: &dyn Progress) -> Result<Facts, FactsError> {
    let wanted =
        Wanted { host: Host::current(), guest: Arch::host(), chosen: context.qemu.as_deref() };
    facts::survey(&wanted, &context.store.dirs().probe_cache(), progress)
}

fn qemu(found: Result<Facts, FactsError>) -> (QemuInfo, Value) {
    match found {
        Ok(facts) => {
            let info = QemuInfo {
                path: facts.qemu.path().display().to_string(),
                version: facts.qemu.features.version.to_string(),
                firmware: facts
                    .firmware
                    .map(|f| f.code().display().to_string())
                    .unwrap_or_default(),
                problem: String::new(),
            };
            (info, serde_json::to_value(facts.choice).unwrap_or_default())
        }
        Err(e) => (QemuInfo { problem: e.to_string(), ..QemuInfo::default() }, Value::Null),
    }
}
