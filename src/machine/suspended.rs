//! What is known about a suspended machine, and whether it may go on: its
//! memory fits one virtual hardware and one state of its disk, and no other.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::units::MiB;

/// The form this program writes; states of another one are not resumed.
pub const VERSION: u32 = 1;

/// What stands beside the memory of a suspended machine. While the file with
/// it is there, the guest has not run since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Suspended {
    pub version: u32,
    pub at: Timestamp,
    /// Of the guest's kernel, where its agent told.
    #[serde(rename = "BootID", default)]
    pub boot_id: Option<String>,
    #[serde(default)]
    pub reason: Reason,
    pub hardware: Hardware,
    pub disk: DiskGeneration,
    /// A disk that shows the same and is about to take its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_disk: Option<DiskGeneration>,
    pub memory: Memory,
}

/// Why a machine was suspended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Somebody asked for it.
    #[default]
    Asked,
    /// Nothing used it: the next command resumes it.
    Idle,
    /// Something was done to it meanwhile: the next command resumes it, should
    /// the one that did so have been killed.
    Brief,
}

impl Reason {
    /// The word that `inspect` and `list` show.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Idle => "idle",
            Self::Brief => "brief",
        }
    }
}

/// The virtual hardware that QEMU was started with. Its fields say what differs;
/// the digest is what decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Hardware {
    pub qemu_version: String,
    /// Which build of that version: when and how large.
    pub qemu_build: String,
    pub accelerator: String,
    pub cpu_model: String,
    /// `-machine` with its options.
    pub machine: String,
    #[serde(rename = "CPUs")]
    pub cpus: u32,
    pub memory: MiB,
    /// SHA-256 of the arguments that the guest can notice.
    #[serde(rename = "ArgvSHA256")]
    pub argv_sha256: String,
    /// What the guest frees stays its own: its memory was a template's once.
    #[serde(default)]
    pub keeps_memory: bool,
}

/// A state of the machine's disk: each run and each write makes another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiskGeneration {
    /// Runs of the machine so far.
    pub runs: u64,
    /// Bytes of the overlay's file.
    pub length: u64,
    /// Nanoseconds since 1970.
    pub modified: u64,
}

/// The file with memory and devices: one zstd frame with a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Memory {
    /// Bytes of the file: it may have been cut off.
    pub length: u64,
}

impl Suspended {
    /// Whether the guest may go on here; else the reason, the continuation of
    /// "its suspended state cannot be used: ".
    pub fn fits(&self, hardware: &Hardware, disk: &DiskGeneration) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("it has the form {}, this nsvm reads {VERSION}", self.version));
        }
        self.hardware.same_as(hardware)?;
        if self.disk != *disk && self.next_disk.as_ref() != Some(disk) {
            return Err("the disk was written to since".into());
        }
        Ok(())
    }
}

impl Hardware {
    fn same_as(&self, now: &Self) -> Result<(), String> {
        let (cpus, cpus_now) = (self.cpus.to_string(), now.cpus.to_string());
        let (memory, memory_now) = (self.memory.0.to_string(), now.memory.0.to_string());
        let named = [
            ("the version of QEMU", &self.qemu_version, &now.qemu_version),
            ("the accelerator", &self.accelerator, &now.accelerator),
            ("the CPU model", &self.cpu_model, &now.cpu_model),
            ("the machine type", &self.machine, &now.machine),
            ("the number of CPUs", &cpus, &cpus_now),
            ("the memory in MiB", &memory, &memory_now),
        ];
        if let Some((what, was, is)) = named.into_iter().find(|(_, was, is)| was != is) {
            return Err(format!("{what} was {was} and is {is} now"));
        }
        if self.qemu_build != now.qemu_build {
            return Err(format!("QEMU {} is another build now", now.qemu_version));
        }
        if self.argv_sha256 != now.argv_sha256 {
            return Err("its devices or options are others now".into());
        }
        Ok(())
    }
}

#[cfg(test)]
impl Hardware {
    /// One for tests.
    pub fn example() -> Self {
        Self {
            qemu_version: "7.2.22".into(),
            qemu_build: "1-2".into(),
            accelerator: "tcg".into(),
            cpu_model: "max".into(),
            machine: "q35".into(),
            cpus: 2,
            memory: MiB(1024),
            argv_sha256: "00".into(),
            keeps_memory: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> DiskGeneration {
        DiskGeneration { runs: 3, length: 10, modified: 20 }
    }

    fn suspended() -> Suspended {
        Suspended {
            version: VERSION,
            at: Timestamp::UNIX_EPOCH,
            boot_id: Some("b".into()),
            reason: Reason::Idle,
            hardware: Hardware::example(),
            disk: disk(),
            next_disk: None,
            memory: Memory { length: 5 },
        }
    }

    #[test]
    fn the_same_machine_may_go_on() {
        assert_eq!(suspended().fits(&Hardware::example(), &disk()), Ok(()));
        let text = serde_json::to_string(&suspended()).unwrap();
        assert_eq!(serde_json::from_str::<Suspended>(&text).unwrap(), suspended());
        // As an older nsvm wrote it.
        let older = text.replace(r#""Reason":"idle","#, "");
        let read: Suspended = serde_json::from_str(&older).unwrap();
        assert_eq!(read, Suspended { reason: Reason::Asked, ..suspended() });
    }

    #[test]
    fn each_difference_is_a_reason() {
        type Change = fn(&mut Hardware);
        let changes: [(Change, &str); 8] = [
            (|h| h.qemu_version = "10.0.2".into(), "version of QEMU was 7.2.22 and is 10.0.2"),
            (|h| h.qemu_build = "9".into(), "another build"),
            (|h| h.accelerator = "kvm".into(), "accelerator was tcg and is kvm"),
            (|h| h.cpu_model = "host".into(), "CPU model"),
            (|h| h.machine = "virt".into(), "machine type"),
            (|h| h.cpus = 4, "number of CPUs was 2 and is 4"),
            (|h| h.memory = MiB(512), "memory in MiB was 1024 and is 512"),
            (|h| h.argv_sha256 = "11".into(), "devices or options"),
        ];
        for (change, said) in changes {
            let mut now = Hardware::example();
            change(&mut now);
            let reason = suspended().fits(&now, &disk()).unwrap_err();
            assert!(reason.contains(said), "{reason}");
        }
    }

    #[test]
    fn a_disk_that_went_on_alone_is_never_given_an_old_memory() {
        type Change = fn(&mut DiskGeneration);
        let changes: [Change; 4] =
            [|d| d.runs += 1, |d| d.length += 1, |d| d.modified += 1, |d| d.runs = 0];
        for change in changes {
            let mut now = disk();
            change(&mut now);
            let reason = suspended().fits(&Hardware::example(), &now).unwrap_err();
            assert!(reason.contains("disk"), "{reason}");
            let frozen = Suspended { next_disk: Some(now.clone()), ..suspended() };
            assert_eq!(frozen.fits(&Hardware::example(), &now), Ok(()));
            assert_eq!(frozen.fits(&Hardware::example(), &disk()), Ok(()));
        }
    }

    #[test]
    fn a_state_of_another_form_is_not_read() {
        let other = Suspended { version: VERSION + 1, ..suspended() };
        assert!(other.fits(&Hardware::example(), &disk()).unwrap_err().contains("form 2"));
    }
}
