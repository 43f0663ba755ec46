//! The machine config: what the user wants, durable.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::idle::IdleTime;
use super::name::MachineName;
use super::published::Published;
use super::units::{GiB, MiB};
use super::verified::Verified;
use super::volume::Volume;

/// The schema this program writes. Older ones are migrated, newer refused.
pub const VERSION: u32 = 1;

/// A machine as its owner wants it, stored as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct MachineConfig {
    pub version: u32,
    pub name: MachineName,
    /// Proves over QMP (`query-uuid`) that a QEMU is this machine's.
    pub uuid: String,
    pub image: ImagePin,
    pub resources: Resources,
    pub ssh: SshConfig,
    #[serde(default)]
    pub rootful: bool,
    pub provisioning: Provisioning,
    /// Directories of the host that the guest sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Ports of the guest on the host's loopback.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Published>,
    /// Refuses to be removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// Nothing may use it for so long before it is suspended.
    #[serde(default, skip_serializing_if = "IdleTime::is_off")]
    pub idle_suspend: IdleTime,
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub changes: Changes,
    /// None: its first boot brings what only this machine has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_boot: Option<CommonBoot>,
    /// Fields of other versions, kept through a rewrite.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The base image a machine was made from, fixed at init.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ImagePin {
    /// What `--image` said, in full: `debian-local`, `fedora-coreos:stable`, a path, a URL.
    pub source: String,
    /// The image stream, where the source has any.
    #[serde(default)]
    pub stream: Option<String>,
    #[serde(default)]
    pub release: Option<String>,
    pub arch: Arch,
    /// SHA-256 of the base image in the cache, lower-case hex: its name there.
    pub sha256: String,
    pub format: DiskFormat,
    /// Virtual size of the base image in bytes.
    pub virtual_size: u64,
    /// The checks it passed when it was taken into the cache.
    #[serde(default = "Verified::unrecorded")]
    pub verified: Verified,
}

/// How the bytes of a base image are laid out, as QEMU names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    Qcow2,
    Raw,
}

impl DiskFormat {
    /// The name QEMU knows it by; the file's suffix too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// CPU architecture, spelled as the kernel and Fedora do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Arch {
    #[serde(rename = "x86_64")]
    X86_64,
    #[serde(rename = "aarch64")]
    Aarch64,
}

impl Arch {
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The architecture this program was built for.
    pub const fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }
}

impl std::str::FromStr for Arch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "x86_64" | "amd64" => Ok(Self::X86_64),
            "aarch64" | "arm64" => Ok(Self::Aarch64),
            other => Err(format!("unknown architecture \"{other}\": x86_64 and aarch64 are known")),
        }
    }
}

/// What the guest gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    #[serde(rename = "CPUs")]
    pub cpus: u32,
    #[serde(rename = "DiskSize")]
    pub disk_size: GiB,
    #[serde(rename = "Memory")]
    pub memory: MiB,
    /// Made at the first boot; zero is none.
    #[serde(rename = "Swap", default)]
    pub swap: MiB,
}

/// How the guest shall differ from what its first boot made of it: told to it
/// at each start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct Changes {
    /// The machine has another name than it was made with.
    pub renamed: bool,
    /// A name of the tz database.
    pub time_zone: Option<String>,
    /// The disk is a copy of another machine's.
    pub copied: Option<Copied>,
}

/// A first boot that is that of any machine with such a config, but for whose it
/// is: so another one's can stand for it (a template).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct CommonBoot {
    /// A name of the tz database.
    pub time_zone: String,
}

/// What a copied guest must be told to be somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Copied {
    /// 32 hex digits (machine-id(5)).
    #[serde(rename = "MachineID")]
    pub machine_id: String,
    /// The user's key that the disk was copied with, `ssh-ed25519 AAAA...`.
    pub user_key: String,
}

impl Changes {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The guest's network card, which cloud-init is told about: QEMU's own choice
/// for a VM's first card, so it never changes under a machine.
pub const GUEST_MAC: &str = "52:54:00:12:34:56";

/// How the guest is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SshConfig {
    pub username: String,
    /// The user's number in the guest; none: the guest gave it one, as useradd(8)
    /// does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Reserved at init on 127.0.0.1; a start moves it when it is taken.
    pub port: u16,
    /// The guest's host key, `ssh-ed25519 AAAA...`, made by us and pinned.
    /// `None` for a machine that brought its own provisioning.
    #[serde(default)]
    pub host_key: Option<String>,
}

/// Who provisions the guest at its first boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provisioning {
    /// Ignition, rendered by nsvm.
    Ignition,
    /// cloud-init, by a seed disk.
    CloudInit,
    /// Whichever of the two is in the image.
    Either,
    /// The user's own Ignition file: nothing of ours is in the guest.
    Own,
    /// Nobody.
    None,
}

impl Provisioning {
    /// Whether the guest is given an Ignition config.
    pub const fn by_ignition(self) -> bool {
        matches!(self, Self::Ignition | Self::Either | Self::Own)
    }

    /// Whether the guest is given a seed for cloud-init.
    pub const fn by_cloud_init(self) -> bool {
        matches!(self, Self::CloudInit | Self::Either)
    }

    /// Whether the guest has our user, key and host key.
    pub const fn is_ours(self) -> bool {
        self.kept_out_by().is_none()
    }

    /// The option by which nothing of ours is in the guest.
    pub const fn kept_out_by(self) -> Option<&'static str> {
        match self {
            Self::Ignition | Self::CloudInit | Self::Either => None,
            Self::Own => Some("--ignition-path"),
            Self::None => Some("--provisioner none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_without_swap_has_none() {
        let old = r#"{ "CPUs": 2, "DiskSize": 12, "Memory": 1024 }"#;
        assert_eq!(serde_json::from_str::<Resources>(old).unwrap().swap, MiB(0));
    }

    #[test]
    fn provisioning_is_spelled_as_on_the_command_line() {
        let spelled = |p: Provisioning| serde_json::to_string(&p).unwrap();
        assert_eq!(spelled(Provisioning::CloudInit), "\"cloud-init\"");
        assert_eq!(spelled(Provisioning::Own), "\"own\"");
    }
}
