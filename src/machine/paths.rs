//! Every name nsvm has on disk, once, with its meaning.
//!
//! ```text
//! <config>/nsvm.toml             the user's settings
//! <config>/machine/NAME.json     machine config (intent)
//! <config>/machine/NAME.ign      Ignition config handed to the guest
//! <data>/NAME/                   disk and its layers, seed, keys, history, connections,
//!                                suspended state, snapshots
//! <state>/NAME/                  serial console and supervisor log
//! <state>/locks/                 kernel-held locks
//! <runtime>/NAME/                runtime record and sockets of this run
//! <cache>/                       base images (image::cache owns the names)
//! ```

use std::path::{Path, PathBuf};

use super::name::{MAX_LEN, MachineName};
use super::snapshot::SnapshotName;

/// Socket addresses end with a NUL within 104 bytes on macOS (108 on Linux).
pub const SOCKET_PATH_MAX: usize = 103;

/// The longest socket file name below a machine's runtime directory.
const LONGEST_SOCKET: &str = "control.sock";

/// The five roots that everything lies below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    pub config: PathBuf,
    pub data: PathBuf,
    pub state: PathBuf,
    /// Base images; may be shared between several `NSVM_HOME`s.
    pub cache: PathBuf,
    /// Sockets and runtime records; its path is short.
    pub runtime: PathBuf,
}

impl Dirs {
    /// Everything below one folder, as `NSVM_HOME` asks; the runtime
    /// directory and the cache are chosen by the caller.
    pub fn below(home: &Path, cache: PathBuf, runtime: PathBuf) -> Self {
        Self {
            config: home.join("config"),
            data: home.join("data"),
            state: home.join("state"),
            cache,
            runtime,
        }
    }

    /// The user's settings, where `NSVM_CONFIG` names no other file.
    pub fn settings(&self) -> PathBuf {
        self.config.join("nsvm.toml")
    }

    /// The name of the machine that is meant when none is named.
    pub fn default_machine(&self) -> PathBuf {
        self.config.join("default-machine")
    }

    /// What of removed machines was to be kept. No machine has such a name.
    pub fn saved(&self) -> PathBuf {
        self.data.join(".saved")
    }

    /// Holds one JSON file a machine.
    pub fn machines(&self) -> PathBuf {
        self.config.join("machine")
    }

    /// Cached answers of probe VMs.
    pub fn probe_cache(&self) -> PathBuf {
        self.state.join("accelerators.json")
    }

    pub fn locks(&self) -> PathBuf {
        self.state.join("locks")
    }

    pub fn machine(&self, name: &MachineName) -> MachinePaths {
        MachinePaths { dirs: self.clone(), name: name.clone() }
    }
}

/// Whether sockets of any machine fit below this runtime directory.
pub fn sockets_fit(runtime: &Path) -> bool {
    runtime.as_os_str().len() + 1 + MAX_LEN + 1 + LONGEST_SOCKET.len() <= SOCKET_PATH_MAX
}

/// The files of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachinePaths {
    dirs: Dirs,
    name: MachineName,
}

impl MachinePaths {
    fn beside_config(&self, suffix: &str) -> PathBuf {
        self.dirs.machines().join(format!("{}.{suffix}", self.name))
    }

    /// The machine config. Its existence is the machine's existence.
    pub fn config(&self) -> PathBuf {
        self.beside_config("json")
    }

    pub fn config_dir(&self) -> PathBuf {
        self.dirs.machines()
    }

    /// The Ignition config, handed to QEMU at each start.
    pub fn ignition(&self) -> PathBuf {
        self.beside_config("ign")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dirs.data.join(self.name.as_str())
    }

    /// The machine's disk: a qcow2 whose backing file is the base image.
    pub fn overlay(&self) -> PathBuf {
        self.data_dir().join("disk.qcow2")
    }

    /// The disk's next state, until it takes its place.
    pub fn overlay_in_progress(&self) -> PathBuf {
        self.data_dir().join("disk.new")
    }

    /// What is written down of a snapshot: its existence is the snapshot's.
    pub fn snapshot(&self, name: &SnapshotName) -> PathBuf {
        self.data_dir().join(format!("snapshot-{name}.json"))
    }

    /// The memory that belongs to it, where the guest ran.
    pub fn snapshot_memory(&self, name: &SnapshotName) -> PathBuf {
        self.data_dir().join(format!("snapshot-{name}.ram"))
    }

    /// The disk that cloud-init reads its files from.
    pub fn seed(&self) -> PathBuf {
        self.data_dir().join("seed.img")
    }

    /// The UEFI variables of a guest whose board has no BIOS; made anew where
    /// they are missing.
    pub fn firmware_variables(&self) -> PathBuf {
        self.data_dir().join("efi-variables.fd")
    }

    /// Private half of the user key, mode 0600; also what `ssh -i` takes.
    pub fn identity(&self) -> PathBuf {
        self.data_dir().join("id_ed25519")
    }

    pub fn identity_public(&self) -> PathBuf {
        self.data_dir().join("id_ed25519.pub")
    }

    /// The guest's host key, for other SSH programs.
    pub fn known_hosts(&self) -> PathBuf {
        self.data_dir().join("known_hosts")
    }

    /// Private half of the host key, where the guest's first boot was another
    /// machine's.
    pub fn host_key(&self) -> PathBuf {
        self.data_dir().join("host_key")
    }

    /// What Ansible shall do in the guest at its first start.
    pub fn playbook(&self) -> PathBuf {
        self.data_dir().join("playbook.yaml")
    }

    /// The machine's entry for ssh_config(5), once somebody asked for it.
    pub fn ssh_config(&self) -> PathBuf {
        self.data_dir().join("ssh.config")
    }

    /// Which connections of other programs lead into the machine.
    pub fn connections(&self) -> PathBuf {
        self.data_dir().join("connections.json")
    }

    /// Dates and the last port; losing it costs only those.
    pub fn history(&self) -> PathBuf {
        self.data_dir().join("history.json")
    }

    /// Says that the machine is suspended and what its memory fits. While it is
    /// there, the guest has not run since.
    pub fn suspended(&self) -> PathBuf {
        self.data_dir().join("suspended.json")
    }

    /// The same of a state that was used up: worth nothing.
    pub fn suspended_used(&self) -> PathBuf {
        self.data_dir().join("suspended.used")
    }

    /// Memory and devices of a suspended machine.
    pub fn memory(&self) -> PathBuf {
        self.data_dir().join("suspended.ram")
    }

    /// The same while it is being written.
    pub fn memory_in_progress(&self) -> PathBuf {
        self.data_dir().join("suspended.ram.new")
    }

    /// Says that the guest is a copy of a template that may not know yet whose it
    /// is: what runs or is on the disk is no machine so far.
    pub fn beginning(&self) -> PathBuf {
        self.data_dir().join("beginning")
    }

    /// What of the data directory is the machine itself, on another host too.
    /// The rest is about this host or one run, or is made anew when asked for.
    pub fn portable(&self) -> [PathBuf; 7] {
        [
            self.overlay(),
            self.seed(),
            self.identity(),
            self.identity_public(),
            self.host_key(),
            self.playbook(),
            self.history(),
        ]
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dirs.state.join("machine").join(self.name.as_str())
    }

    /// What the guest printed on its serial console.
    pub fn serial_log(&self) -> PathBuf {
        self.state_dir().join("serial.log")
    }

    pub fn supervisor_log(&self) -> PathBuf {
        self.state_dir().join("supervisor.log")
    }

    /// What was said while a template of this machine's shape was made.
    pub fn template_log(&self) -> PathBuf {
        self.state_dir().join("template.log")
    }

    /// What QEMU itself printed.
    pub fn qemu_log(&self) -> PathBuf {
        self.state_dir().join("qemu.log")
    }

    /// Held shortly around every change of the machine.
    pub fn lock(&self) -> PathBuf {
        self.dirs.locks().join(format!("{}.lock", self.name))
    }

    /// Held by the supervisor for its life.
    pub fn alive_lock(&self) -> PathBuf {
        self.dirs.locks().join(format!("{}.alive.lock", self.name))
    }

    /// Inherited by QEMU (Unix): held exactly as long as the VM lives.
    pub fn vm_lock(&self) -> PathBuf {
        self.dirs.locks().join(format!("{}.vm.lock", self.name))
    }

    pub fn runtime_dir(&self) -> PathBuf {
        self.dirs.runtime.join(self.name.as_str())
    }

    /// Facts of this run: disposable.
    pub fn run_record(&self) -> PathBuf {
        self.runtime_dir().join("run.json")
    }

    /// What of the host's environment the guest gets in this run.
    pub fn environment(&self) -> PathBuf {
        self.runtime_dir().join("environment")
    }

    /// What the guest is told at this start.
    pub fn settings(&self) -> PathBuf {
        self.runtime_dir().join("settings")
    }

    /// Where the supervisor answers the CLI.
    pub fn control_socket(&self) -> PathBuf {
        self.runtime_dir().join(LONGEST_SOCKET)
    }

    pub fn qmp_socket(&self) -> PathBuf {
        self.runtime_dir().join("qmp.sock")
    }

    /// Memory and devices pass through it, on their way to or from a file.
    pub fn memory_socket(&self) -> PathBuf {
        self.runtime_dir().join("memory.sock")
    }

    /// Other end of the guest's virtio port `nsvm.ready`.
    pub fn ready_socket(&self) -> PathBuf {
        self.runtime_dir().join("ready.sock")
    }

    /// Other end of the guest's virtio port `nsvm.link`.
    pub fn link_socket(&self) -> PathBuf {
        self.runtime_dir().join("link.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_socket_name_is_the_control_socket() {
        let dirs = Dirs::below(Path::new("/h"), "/c".into(), "/r".into());
        let paths = dirs.machine(&MachineName::default());
        let others =
            [paths.qmp_socket(), paths.memory_socket(), paths.ready_socket(), paths.link_socket()];
        for socket in [paths.control_socket()].iter().chain(&others) {
            let name = socket.file_name().map(std::ffi::OsStr::len);
            assert!(name <= Some(LONGEST_SOCKET.len()), "{}", socket.display());
        }
    }

    #[test]
    fn a_deep_home_is_too_long_for_sockets() {
        assert!(sockets_fit(Path::new("/tmp/nsvm-1000-0123456789ab")));
        assert!(!sockets_fit(Path::new(&"/long".repeat(20))));
    }
}
