//! QEMU's command line, built from a [`Launch`] by one pure function per
//! concern. Nothing of it is kept on disk: each start builds it anew.

mod channels;
mod ram;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::accel::{Accelerator, Choice, Host, Os};
use super::board::Board;
use super::endpoint::Endpoint;
use super::firmware::Firmware;
use super::version::Version;
use crate::host;
use crate::machine::config::{Arch, DiskFormat, GUEST_MAC};
use crate::machine::name::MachineName;
use crate::machine::published::Published;
use crate::machine::units::MiB;

pub use channels::LINK_DEVICE;
pub use ram::Ram;

/// TCG's cache of translated code in MiB. QEMU's default of 1 GiB lets a small
/// VM grow to twice its size; each halving costs a boot some more rounds of
/// translating everything anew (about 1 at 1024, 5 at 256, 8 at 128).
const TCG_CACHE: u32 = 256;

/// How TCG runs a guest's CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcgThreads {
    /// QEMU's choice: one thread a CPU, where that is possible at all.
    Default,
    /// All CPUs in turn on one thread.
    One,
}

impl TcgThreads {
    /// Before 8.1, QEMU may translate an instruction just while another CPU
    /// rewrites it, and keep the stale translation. A Linux guest that patches
    /// its own code then panics ("Oops: int3", seen here in about one boot of
    /// twelve with 7.2 on a busy host).
    pub fn sound_for(version: Version) -> Self {
        if version < Version::new(8, 1, 0) { Self::One } else { Self::Default }
    }
}

/// Everything a command line depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    pub host: Host,
    pub arch: Arch,
    pub board: Board,
    pub choice: Choice,
    pub tcg_threads: TcgThreads,
    /// Whether this QEMU knows `-sandbox` (seccomp).
    pub sandbox: bool,
    /// UEFI firmware, where the machine type has none of its own, with the
    /// machine's own variables.
    pub firmware: Option<Firmware>,
    pub name: MachineName,
    pub uuid: String,
    pub cpus: u32,
    pub memory: MiB,
    pub ram: Ram,
    pub overlay: PathBuf,
    /// Between the overlay and its base, the uppermost first.
    pub layers: Vec<PathBuf>,
    /// What the overlay lies on, or the last layer.
    pub base: PathBuf,
    pub base_format: DiskFormat,
    pub ignition: Option<PathBuf>,
    /// cloud-init's disk.
    pub seed: Option<PathBuf>,
    /// Variables for the guest, lines of NAME=value; a file, because a proxy's
    /// password must not show in the arguments.
    pub environment: Option<PathBuf>,
    /// What the guest is told at this start; a file, for keys may be in it.
    pub settings: Option<PathBuf>,
    /// Directories of the host.
    pub volumes: Vec<SharedDir>,
    /// Port on 127.0.0.1 that leads to the guest's port 22.
    pub ssh_port: u16,
    /// More such ports.
    pub ports: Vec<Published>,
    pub qmp_socket: Endpoint,
    pub ready_socket: Endpoint,
    pub link_socket: Endpoint,
    pub serial_log: PathBuf,
    /// More arguments for the guest's kernel.
    pub kernel_arguments: Option<String>,
    /// Instead of what the disk boots.
    pub kernel: Option<Kernel>,
    /// The rate of the guest's time stamp counter, for a board that it cannot measure
    /// it on. In kHz.
    pub tsc_khz: Option<u32>,
    pub entry: Entry,
}

/// A kernel that QEMU starts itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    pub image: PathBuf,
    pub initrd: PathBuf,
    /// Before those of the launch.
    pub arguments: String,
}

/// Where a guest begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// At its boot.
    Boot,
    /// Where it was when its memory was saved, once that is loaded and QEMU is
    /// told to go on.
    Memory,
}

/// A directory of the host that the guest may mount by its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedDir {
    pub tag: String,
    pub path: PathBuf,
    pub read_only: bool,
}

/// The arguments, without the program itself.
pub fn argv(launch: &Launch) -> Vec<OsString> {
    [
        identity(launch),
        machine(launch),
        firmware(launch),
        processors(launch),
        ram::backend(launch),
        boot_order(),
        disk(launch),
        seed(launch),
        network(launch),
        volumes(launch),
        ram::small_devices(launch),
        channels::ports(launch),
        channels::console(launch),
        channels::monitor(launch),
        generation(launch),
        provisioning(launch),
        kernel(launch),
        confinement(launch),
        entry(launch),
    ]
    .concat()
}

/// SHA-256, in hex, of the arguments without those that a guest cannot notice.
pub fn digest(launch: &Launch) -> String {
    let seen = argv(&Launch {
        ssh_port: 0,
        ports: Vec::new(),
        entry: Entry::Boot,
        ram: launch.ram.noticed(),
        qmp_socket: Endpoint::Loopback(0),
        ready_socket: Endpoint::Loopback(0),
        link_socket: Endpoint::Loopback(0),
        // The disk shows the same, however it is put together.
        layers: Vec::new(),
        // Another measurement of the same.
        tsc_khz: launch.tsc_khz.map(|_| 0),
        ..launch.clone()
    });
    let mut digest = Sha256::new();
    for arg in seen {
        digest.update(arg.as_encoded_bytes());
        digest.update([0]);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// No devices and no settings but ours, and who this is.
fn identity(launch: &Launch) -> Vec<OsString> {
    // Only Linux lets QEMU change what `ps` calls it.
    let process = match launch.host.os {
        Os::Linux => format!(",process=nsvm-{}", launch.name),
        Os::MacOs | Os::Windows => String::new(),
    };
    let name = format!("guest=nsvm-{}{process}", launch.name);
    strings(&[
        "-no-user-config",
        "-nodefaults",
        "-display",
        "none",
        "-name",
        &name,
        "-uuid",
        &launch.uuid,
    ])
}

/// The board and what runs its instructions.
fn machine(launch: &Launch) -> Vec<OsString> {
    let accelerator = match (launch.choice.in_use, launch.tcg_threads) {
        (Accelerator::Tcg, TcgThreads::One) => {
            format!("{},thread=single", accel_value(Accelerator::Tcg, launch.arch))
        }
        (other, _) => accel_value(other, launch.arch),
    };
    // The nodes are those of `firmware`.
    let flash = match launch.firmware {
        Some(Firmware::Flash { .. }) => ",pflash0=code0,pflash1=variables0",
        Some(Firmware::Image(_)) | None => "",
    };
    let board = format!("{}{flash}{}", launch.board.options(), ram::of_machine(launch));
    strings(&["-machine", &board, "-accel", &accelerator, "-cpu", &launch.choice.cpu_model])
}

/// The value of `-accel`. TCG's `thread` is left to QEMU, which uses one thread
/// a CPU exactly where the two architectures' memory ordering allows that.
pub(super) fn accel_value(accelerator: Accelerator, guest: Arch) -> String {
    match accelerator {
        Accelerator::Kvm | Accelerator::Hvf => accelerator.name().to_owned(),
        // Guests hang when Hyper-V emulates the interrupt controller (before
        // QEMU 11). On arm there is no other that it could use.
        Accelerator::Whpx => match guest {
            Arch::X86_64 => "whpx,kernel-irqchip=off".to_owned(),
            Arch::Aarch64 => "whpx".to_owned(),
        },
        Accelerator::Tcg => format!("tcg,tb-size={TCG_CACHE}"),
    }
}

/// As the board's two flash devices, or as one image.
fn firmware(launch: &Launch) -> Vec<OsString> {
    match &launch.firmware {
        None => Vec::new(),
        Some(Firmware::Image(path)) => vec!["-bios".into(), path.into()],
        Some(Firmware::Flash { code, variables }) => {
            let node = "driver=raw,node-name=";
            let code_options = format!("{node}code0,read-only=on,file.driver=file,file.filename=");
            let options = format!("{node}variables0,file.driver=file,file.filename=");
            vec![
                "-blockdev".into(),
                with_path(&code_options, code),
                "-blockdev".into(),
                with_path(&options, variables),
            ]
        }
    }
}

fn processors(launch: &Launch) -> Vec<OsString> {
    let cpus = format!("cpus={}", launch.cpus);
    let memory = format!("size={}M", launch.memory.0);
    strings(&["-smp", &cpus, "-m", &memory])
}

/// Only the disk (bootindex), without asking and without trying the network.
fn boot_order() -> Vec<OsString> {
    strings(&["-boot", "menu=off,strict=on"])
}

/// The overlay. Space the guest frees, or fills with zeros, is given back.
/// `-blockdev` takes its file name literally, where `-drive` would read
/// `name:` as a protocol. QEMU's defaults are right for the rest: the host's
/// page cache (shared with the base image) with flushes obeyed, and threads,
/// which every host and file system allows. The base is where it is found now,
/// which need not be where it was when the overlay was made.
fn disk(launch: &Launch) -> Vec<OsString> {
    let options = "driver=qcow2,node-name=disk0,discard=unmap,detect-zeroes=unmap,\
                   file.driver=file,file.discard=unmap,file.filename=";
    let mut disk = with_path(options, &launch.overlay);
    let layers = launch.layers.iter().map(|layer| (layer, "qcow2"));
    for (depth, (path, format)) in
        layers.chain([(&launch.base, launch.base_format.name())]).enumerate()
    {
        let node = "backing.".repeat(depth + 1);
        let opened = format!(",{node}driver={format},{node}file.driver=file,{node}file.filename=");
        disk.push(with_path(&opened, path));
    }
    vec![
        "-blockdev".into(),
        disk,
        "-device".into(),
        "virtio-blk-pci,drive=disk0,bootindex=1".into(),
    ]
}

/// After the overlay, so that this is the guest's second disk.
fn seed(launch: &Launch) -> Vec<OsString> {
    let Some(path) = &launch.seed else { return Vec::new() };
    let options = "driver=raw,node-name=seed0,read-only=on,file.driver=file,file.filename=";
    let device = "virtio-blk-pci,drive=seed0";
    vec!["-blockdev".into(), with_path(options, path), "-device".into(), device.into()]
}

/// User-mode networking with a way in for SSH and for each published port. No boot ROM: it would only cost time.
fn network(launch: &Launch) -> Vec<OsString> {
    let ssh = Published { host: launch.ssh_port, guest: 22 };
    let forwards = std::iter::once(&ssh).chain(&launch.ports);
    let forwards: String =
        forwards.map(|p| format!(",hostfwd=tcp:127.0.0.1:{}-:{}", p.host, p.guest)).collect();
    let user = format!("user,id=net0{forwards}");
    let card = format!("virtio-net-pci,netdev=net0,romfile=,mac={GUEST_MAC}");
    strings(&["-netdev", &user, "-device", &card])
}

/// By 9p, as whoever runs QEMU: files belong to that user, whatever the guest
/// says (`security_model=none`). What is read-only QEMU itself refuses to
/// write. Inode numbers of several host file systems are told apart.
fn volumes(launch: &Launch) -> Vec<OsString> {
    let share = |dir: &SharedDir| {
        let access = if dir.read_only { ",readonly=on" } else { "" };
        let options =
            format!("local,id={0},security_model=none,multidevs=remap{access},path=", dir.tag);
        let device = format!("virtio-9p-pci,fsdev={0},mount_tag={0}", dir.tag);
        ["-fsdev".into(), with_path(&options, &dir.path), "-device".into(), device.into()]
    };
    launch.volumes.iter().flat_map(share).collect()
}

/// A number that is another one in each QEMU. When it changes under a guest
/// that goes on from a saved memory, Linux (since 5.18) reseeds its random
/// numbers. QEMU has the device on PCs alone.
fn generation(launch: &Launch) -> Vec<OsString> {
    if launch.board.has_generation() {
        return strings(&["-device", "vmgenid,guid=auto"]);
    }
    Vec::new()
}

/// What the guest's first boot reads, and the environment, which every boot
/// does. The first is offered on later boots too: cloud-init would take a
/// guest whose seed is gone for a new one and give it other host keys, and a
/// guest shows either to its own root alone, who has the keys anyway.
fn provisioning(launch: &Launch) -> Vec<OsString> {
    let mut argv = Vec::new();
    if let Some(path) = &launch.ignition {
        argv.push("-fw_cfg".into());
        argv.push(with_path("name=opt/com.coreos/config,file=", path));
    }
    if let Some(path) = &launch.environment {
        argv.push("-fw_cfg".into());
        argv.push(with_path("name=opt/nsvm/environment,file=", path));
    }
    if let Some(path) = &launch.settings {
        argv.push("-fw_cfg".into());
        argv.push(with_path("name=opt/nsvm/settings,file=", path));
    }
    argv
}

/// What the kernel is told: directly, or by a text that boot loaders of guests look
/// for (SMBIOS type 11, systemd-stub(7)). Unlike others, these three options take
/// their value as it is.
fn kernel(launch: &Launch) -> Vec<OsString> {
    let more = launch.kernel_arguments.as_deref();
    if let Some(kernel) = &launch.kernel {
        let tsc = launch.tsc_khz.map(|khz| format!("tsc_early_khz={khz}"));
        let arguments =
            std::iter::once(kernel.arguments.as_str()).chain(more).chain(tsc.as_deref());
        let arguments = arguments.collect::<Vec<_>>().join(" ");
        return vec![
            "-kernel".into(),
            kernel.image.clone().into(),
            "-initrd".into(),
            kernel.initrd.clone().into(),
            "-append".into(),
            arguments.into(),
        ];
    }
    let Some(arguments) = more else { return Vec::new() };
    let mut value = OsString::from("type=11,value=io.systemd.stub.kernel-cmdline-extra=");
    value.push(escape(OsStr::new(arguments)));
    vec!["-smbios".into(), value]
}

/// Where QEMU can, it gives up system calls that it never needs: a guest that
/// breaks out of it starts no program and gains no privilege.
fn confinement(launch: &Launch) -> Vec<OsString> {
    const DENIED: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
    if launch.sandbox { strings(&["-sandbox", DENIED]) } else { Vec::new() }
}

/// With `-S` only `cont` lets the guest run, whatever its state was when it
/// was saved.
fn entry(launch: &Launch) -> Vec<OsString> {
    match launch.entry {
        Entry::Boot => Vec::new(),
        Entry::Memory => strings(&["-S", "-incoming", "defer"]),
    }
}

fn strings(args: &[&str]) -> Vec<OsString> {
    args.iter().map(OsString::from).collect()
}

/// `options` ends with `key=`; the path is its value.
fn with_path(options: &str, path: &Path) -> OsString {
    let mut arg = OsString::from(options);
    arg.push(escape(path.as_os_str()));
    arg
}

/// Doubles commas, which otherwise end a value. All other bytes, spaces and
/// non-ASCII ones included, stand for themselves.
pub(super) fn escape(value: &OsStr) -> OsString {
    host::double(value, b',')
}

#[cfg(test)]
mod tests;
