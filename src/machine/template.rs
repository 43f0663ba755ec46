//! What a template is: a guest that was frozen after its first boot, and what a
//! machine must be like to begin as a copy of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::config::{Changes, MachineConfig};
use super::suspended::{Hardware, Memory};
use super::units::GiB;

/// The form this program writes; templates of another one are not used.
pub const VERSION: u32 = 1;

/// All that a guest is after its first boot, but for whose it is. Two machines
/// of one shape differ in nothing that a copy is not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Shape {
    /// Its digest leaves out names, paths and ports.
    pub hardware: Hardware,
    #[serde(rename = "ImageSHA256")]
    pub image_sha256: String,
    pub disk_size: GiB,
    /// Of what provisions it: user, swap, files and units.
    #[serde(rename = "GuestSHA256")]
    pub guest_sha256: String,
    #[serde(rename = "AgentSHA256")]
    pub agent_sha256: String,
    /// Of what it is told of the host's environment.
    #[serde(rename = "EnvironmentSHA256")]
    pub environment_sha256: String,
}

impl Shape {
    /// The name of its template: 32 hex digits.
    pub fn digest(&self) -> String {
        let text = serde_json::to_vec(self).expect("plain fields serialize");
        let digest = Sha256::digest(text);
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What stands beside the files of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Template {
    pub version: u32,
    pub made: Timestamp,
    /// For people: what the image was called.
    pub image: String,
    pub username: String,
    pub shape: Shape,
    /// The guest's memory, to be mapped.
    pub memory: Written,
    pub disk: Written,
    /// The state of everything else.
    pub devices: Memory,
}

/// A file as it was when it was finished: nobody writes to it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Written {
    /// Bytes.
    pub length: u64,
    /// Nanoseconds since 1970.
    pub modified: u64,
}

impl Template {
    /// Whether somebody who has this one has no use for the other any more: it
    /// is the same to them, but of an older agent, image or QEMU.
    pub fn supersedes(&self, other: &Self) -> bool {
        let same = |template: &Self| {
            let hardware = &template.shape.hardware;
            let size = (hardware.cpus, hardware.memory, template.shape.disk_size);
            (template.image.clone(), template.username.clone(), size)
        };
        same(self) == same(other) && self.shape != other.shape
    }
}

/// Why a machine boots, whatever templates there are; `None`: it need not.
pub fn boots_because(config: &MachineConfig) -> Option<&'static str> {
    if config.common_boot.is_none() {
        return Some("its first boot brings what only it has");
    }
    if config.changes != Changes::default() {
        return Some("it was changed since it was made");
    }
    // QEMU saves no guest that has one mounted.
    (!config.volumes.is_empty()).then_some("it has directories of the host")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::units::MiB;

    fn template() -> Template {
        let hardware = Hardware { keeps_memory: true, ..Hardware::example() };
        Template {
            version: VERSION,
            made: Timestamp::UNIX_EPOCH,
            image: "debian-local".into(),
            username: "core".into(),
            shape: Shape {
                hardware,
                image_sha256: "i".into(),
                disk_size: GiB(12),
                guest_sha256: "g".into(),
                agent_sha256: "a".into(),
                environment_sha256: "e".into(),
            },
            memory: Written { length: 1, modified: 2 },
            disk: Written { length: 3, modified: 4 },
            devices: Memory { length: 5 },
        }
    }

    #[test]
    fn every_difference_is_another_shape() {
        type Change = fn(&mut Shape);
        let changes: [Change; 7] = [
            |s| s.hardware.argv_sha256.push('1'),
            |s| s.hardware.qemu_build.push('1'),
            |s| s.image_sha256.push('1'),
            |s| s.disk_size = GiB(13),
            |s| s.guest_sha256.push('1'),
            |s| s.agent_sha256.push('1'),
            |s| s.environment_sha256.push('1'),
        ];
        let mut digests = vec![template().shape.digest()];
        for change in changes {
            let mut shape = template().shape;
            change(&mut shape);
            digests.push(shape.digest());
        }
        assert!(digests.iter().all(|digest| digest.len() == 32));
        let count = digests.len();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn an_older_one_for_the_same_machines_has_had_its_day() {
        let (old, mut new) = (template(), template());
        assert!(!new.supersedes(&old), "it is the same one");
        new.shape.agent_sha256 = "b".into();
        assert!(new.supersedes(&old));
        new.shape.hardware.memory = MiB(2048);
        assert!(!new.supersedes(&old), "for larger machines");
    }
}
