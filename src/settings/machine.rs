//! What users choose for new machines: `[machine]`, in layers.

use serde::{Deserialize, Serialize};

use crate::host;
use crate::machine::idle::IdleTime;
use crate::machine::units::{GiB, MiB};

/// What is given to a machine when nobody chooses.
const MEMORY: MiB = MiB(2048);
const DISK_SIZE: GiB = GiB(100);
const SWAP: MiB = MiB(0);
const TIME_ZONE: &str = "local";
/// Off until more kinds of guests and hosts have been seen with them.
const TEMPLATES: bool = false;

/// One layer. What it leaves out is decided by a lower one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MachineChoices {
    pub cpus: Option<u32>,
    /// MiB.
    pub memory: Option<MiB>,
    /// GiB.
    pub disk_size: Option<GiB>,
    /// MiB.
    pub swap: Option<MiB>,
    /// As `--image`; comes before `[image] default`.
    pub image: Option<String>,
    /// The user in the guest, where not the image decides.
    pub user: Option<String>,
    pub rootful: Option<bool>,
    /// As `--timezone`.
    pub timezone: Option<String>,
    /// As `--volume`; `$HOME` is the user's home. Flags take their place.
    pub volumes: Option<Vec<String>>,
    /// As `--idle-suspend`.
    pub idle_suspend: Option<IdleTime>,
    /// Whether new machines may begin as copies of a template.
    pub templates: Option<bool>,
}

/// All layers together, what nobody chose filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineDefaults {
    pub cpus: u32,
    pub memory: MiB,
    pub disk_size: GiB,
    pub swap: MiB,
    pub image: Option<String>,
    pub user: Option<String>,
    pub rootful: bool,
    pub timezone: String,
    pub volumes: Vec<String>,
    pub idle_suspend: IdleTime,
    pub templates: bool,
}

impl MachineChoices {
    /// These, and `lower` where they leave something out.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            cpus: self.cpus.or(lower.cpus),
            memory: self.memory.or(lower.memory),
            disk_size: self.disk_size.or(lower.disk_size),
            swap: self.swap.or(lower.swap),
            image: self.image.or(lower.image),
            user: self.user.or(lower.user),
            rootful: self.rootful.or(lower.rootful),
            timezone: self.timezone.or(lower.timezone),
            volumes: self.volumes.or(lower.volumes),
            idle_suspend: self.idle_suspend.or(lower.idle_suspend),
            templates: self.templates.or(lower.templates),
        }
    }

    pub fn settle(self) -> MachineDefaults {
        MachineDefaults {
            // The host wants some for itself.
            cpus: self.cpus.unwrap_or_else(|| (host::cpus() / 2).max(1)),
            memory: self.memory.unwrap_or(MEMORY),
            disk_size: self.disk_size.unwrap_or(DISK_SIZE),
            swap: self.swap.unwrap_or(SWAP),
            image: self.image,
            user: self.user,
            rootful: self.rootful.unwrap_or(false),
            timezone: self.timezone.unwrap_or_else(|| TIME_ZONE.to_owned()),
            volumes: self.volumes.unwrap_or_default(),
            idle_suspend: self.idle_suspend.unwrap_or_default(),
            templates: self.templates.unwrap_or(TEMPLATES),
        }
    }

    /// The lowest layer.
    pub fn built_in() -> Self {
        let settled = Self::default().settle();
        Self {
            cpus: Some(settled.cpus),
            memory: Some(settled.memory),
            disk_size: Some(settled.disk_size),
            swap: Some(settled.swap),
            image: settled.image,
            user: settled.user,
            rootful: Some(settled.rootful),
            timezone: Some(settled.timezone),
            volumes: Some(settled.volumes),
            idle_suspend: Some(settled.idle_suspend),
            templates: Some(settled.templates),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_choosing_is_the_lowest_layer() {
        let built_in = MachineChoices::built_in();
        assert_eq!(built_in.clone().settle(), MachineChoices::default().settle());
        let chosen = MachineChoices { memory: Some(MiB(4096)), ..MachineChoices::default() };
        let settled = chosen.over(built_in).settle();
        assert_eq!((settled.memory, settled.disk_size), (MiB(4096), GiB(100)));
        assert!(settled.cpus >= 1);
    }
}
