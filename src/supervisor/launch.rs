//! From a machine config and host facts to a running QEMU.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::lifecycle::Failure;
use crate::app::Context;
use crate::fs::{Access, Lock, write_atomic};
use crate::host;
use crate::image::{Cache, DirectBoot, chain};
use crate::machine::config::MachineConfig;
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::paths::MachinePaths;
use crate::machine::published::Published;
use crate::machine::suspended::Hardware;
use crate::machine::volume::Volume;
use crate::provision::settings::{self, Identity, Settings};
use crate::qemu::accel::{Accelerator, Host};
use crate::qemu::board::{Able, Board, asks_for_microvm};
use crate::qemu::command::{Entry, Kernel, Launch, Ram, SharedDir, TcgThreads, argv, digest};
use crate::qemu::endpoint;
use crate::qemu::facts::{self, Facts};
use crate::qemu::firmware::{Firmware, ensure_variables};
use crate::qemu::locate::Wanted;
use crate::qemu::port::free_port;
use crate::qemu::process::{Life, QemuProcess};

/// A command that asks whether the VM lives holds its lock for a moment.
const ASKERS_PATIENCE: Duration = Duration::from_secs(2);

/// A VM that was just started.
pub struct Launched {
    pub process: QemuProcess,
    pub ssh_port: u16,
    pub ports: Vec<Published>,
    pub hardware: Hardware,
    /// As `inspect` shows it.
    pub accelerator: Value,
    pub translated: bool,
}

/// How long a start may take: a translated guest is several times slower.
pub const fn default_timeout(translated: bool) -> Duration {
    Duration::from_secs(if translated { 300 } else { 120 })
}

/// Finds QEMU and what it can do here. Blocks while an accelerator is probed,
/// which only happens once per QEMU and host boot.
pub fn survey(
    context: &Context,
    config: &MachineConfig,
    progress: &dyn Progress,
) -> Result<Facts, Failure> {
    base(context, config)?;
    volumes(config)?;
    let host = Host::current();
    let wanted = Wanted { host, guest: config.image.arch, chosen: context.qemu.as_deref() };
    let mut facts = facts::survey(&wanted, &context.store.dirs().probe_cache(), progress)
        .map_err(|e| failure(&e, e.hint()))?;
    if kernel(context, config).as_ref().is_some_and(asks_for_microvm) {
        facts.tsc_khz = host::tsc_khz();
    }
    Ok(facts)
}

/// The hardware that QEMU would be started with now.
pub fn hardware(
    context: &Context,
    config: &MachineConfig,
    facts: &Facts,
    ram: Ram,
) -> Result<Hardware, Failure> {
    let passed = Passed {
        ram,
        base: base(context, config)?,
        kernel: kernel(context, config),
        ssh_port: 0,
        ports: Vec::new(),
        environment: context.store.paths(&config.name).environment(),
        settings: settings_file(context, config)?,
        layers: Vec::new(),
    };
    Ok(hardware_of(&describe(context, config, facts, passed), facts))
}

fn hardware_of(launch: &Launch, facts: &Facts) -> Hardware {
    let build = &facts.qemu.identity;
    Hardware {
        qemu_version: facts.qemu.features.version.to_string(),
        qemu_build: format!("{}-{}", build.size, build.modified),
        accelerator: launch.choice.in_use.name().to_owned(),
        cpu_model: launch.choice.cpu_model.clone(),
        machine: launch.board.options().to_owned(),
        cpus: launch.cpus,
        memory: launch.memory,
        argv_sha256: digest(launch),
        keeps_memory: !launch.ram.has_balloon(),
    }
}

/// The hardware of any machine like this one, without names, paths and ports,
/// that begins on the memory of a template.
pub fn common_hardware(
    context: &Context,
    config: &MachineConfig,
    facts: &Facts,
) -> Result<Hardware, Failure> {
    let passed = Passed {
        ram: Ram::Kept,
        base: PathBuf::new(),
        // The same file for all machines of an image.
        kernel: kernel(context, config),
        layers: Vec::new(),
        ssh_port: 0,
        ports: Vec::new(),
        environment: PathBuf::new(),
        settings: settings_file(context, config)?,
    };
    let described = describe(context, config, facts, passed);
    let common = Launch {
        name: MachineName::default(),
        uuid: String::new(),
        firmware: facts.firmware.clone(),
        overlay: PathBuf::new(),
        ignition: described.ignition.as_ref().map(|_| PathBuf::new()),
        seed: described.seed.as_ref().map(|_| PathBuf::new()),
        serial_log: PathBuf::new(),
        ..described
    };
    Ok(hardware_of(&common, facts))
}

/// Where a guest begins, on what memory, and how long its QEMU lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    pub entry: Entry,
    pub ram: Ram,
    pub life: Life,
}

impl Beginning {
    /// Where it was, on this hardware.
    pub const fn resumed(hardware: &Hardware) -> Self {
        Self { entry: Entry::Memory, ram: loaded(hardware), life: Life::Own }
    }
}

/// The memory of a guest that goes on where it was on this hardware.
pub const fn loaded(hardware: &Hardware) -> Ram {
    if hardware.keeps_memory { Ram::Kept } else { Ram::Own }
}

/// Starts QEMU for the machine, at its boot or to load its memory. Does not block, so that whoever calls it can
/// take hold of the process before anything else happens.
pub fn launch(
    context: &Context,
    config: &MachineConfig,
    facts: &Facts,
    Beginning { entry, ram, life }: Beginning,
    progress: &dyn Progress,
) -> Result<Launched, Failure> {
    let ssh_port = port(context, config, progress)?;
    let fresh = entry == Entry::Boot || matches!(ram, Ram::Copied { .. });
    let passed = Passed {
        ram,
        base: base(context, config)?,
        kernel: kernel(context, config),
        ssh_port,
        ports: published(config, ssh_port, progress)?,
        environment: environment(context, config)?,
        settings: settings_file(context, config)?,
        layers: chain(&context.store.paths(&config.name).overlay())
            .map_err(|e| failure(&e, e.hint()))?,
    };
    let mut launch = Launch { entry, ..describe(context, config, facts, passed) };
    let paths = context.store.paths(&config.name);
    firmware_variables(facts, &paths)?;
    for (place, at) in [
        (paths.qmp_socket(), &mut launch.qmp_socket),
        (paths.ready_socket(), &mut launch.ready_socket),
        (paths.link_socket(), &mut launch.link_socket),
    ] {
        *at = endpoint::prepare(&place, context.endpoints)
            .map_err(|e| failure(&format!("preparing \"{}\": {e}", place.display()), None))?;
    }
    let lock = Lock::acquire(&paths.vm_lock(), ASKERS_PATIENCE)
        .map_err(|e| failure(&format!("locking \"{}\": {e}", paths.vm_lock().display()), None))?;
    if fresh {
        forget_earlier_runs(context, &config.name)?;
    }
    let process =
        QemuProcess::start(facts.qemu.path(), &argv(&launch), &paths.qemu_log(), lock, life)
            .map_err(|e| failure(&e, e.hint()))?;
    Ok(Launched {
        process,
        ssh_port,
        hardware: hardware_of(&launch, facts),
        ports: launch.ports,
        accelerator: serde_json::to_value(&facts.choice).unwrap_or_default(),
        translated: facts.choice.in_use == Accelerator::Tcg,
    })
}

/// A memory of before no longer fits the disk once a guest boots from it.
fn forget_earlier_runs(context: &Context, name: &MachineName) -> Result<(), Failure> {
    let store = &context.store;
    store.discard_suspension(name).map_err(|e| failure(&e, e.hint()))?;
    store.count_run(name).map_err(|e| failure(&e, e.hint()))?;
    // The console's log is this run's: what an earlier one printed only confuses.
    let _ = std::fs::remove_file(store.paths(name).serial_log());
    Ok(())
}

/// The base image: without it the overlay is worthless. A cache that does not
/// know of this machine (an older nsvm made it) learns of it.
pub fn base(context: &Context, config: &MachineConfig) -> Result<PathBuf, Failure> {
    let overlay = context.store.paths(&config.name).overlay();
    Cache::open(&context.store.dirs().cache)
        .and_then(|cache| {
            drop(cache.claim(&config.image, config.name.as_str(), &overlay)?);
            cache.base(&config.image)
        })
        .map_err(|e| failure(&e, e.hint()))
}

/// The kernel that the base image lets us start. That it cannot be unpacked is no
/// reason not to start: then it boots as other images do.
fn kernel(context: &Context, config: &MachineConfig) -> Option<Kernel> {
    let found = Cache::open(&context.store.dirs().cache)
        .and_then(|cache| cache.direct_boot(&config.image))
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "the machine boots by its boot loader");
            None
        })?;
    let DirectBoot { kernel, initrd, arguments } = found;
    Some(Kernel { image: kernel, initrd, arguments })
}

/// Puts the disk back to what init made of it.
pub fn restore_disk(context: &Context, config: &MachineConfig) -> Result<(), Failure> {
    let base = base(context, config)?;
    let overlay = context.store.paths(&config.name).overlay();
    let fresh = overlay.with_extension("new");
    let size = config.resources.disk_size.bytes();
    let _ = std::fs::remove_file(&fresh);
    crate::image::create_overlay(&fresh, &base, config.image.format, size)
        .map_err(|e| failure(&e, e.hint()))?;
    std::fs::rename(&fresh, &overlay).map_err(|e| failure(&e, None))
}

/// The reserved port, or another one when somebody has taken it.
fn port(
    context: &Context,
    config: &MachineConfig,
    progress: &dyn Progress,
) -> Result<u16, Failure> {
    let wanted = context.store.history(&config.name).ssh_port.unwrap_or(config.ssh.port);
    let port = free_port(Some(wanted))
        .map_err(|e| failure(&format!("finding a free port on 127.0.0.1: {e}"), None))?;
    if port != wanted {
        progress.warn(format!("port {wanted} is taken: SSH is on port {port} from now on"));
    }
    Ok(port)
}

/// The published ports; one that cannot be had is on another port in this run.
fn published(
    config: &MachineConfig,
    ssh_port: u16,
    progress: &dyn Progress,
) -> Result<Vec<Published>, Failure> {
    let mut used = vec![ssh_port];
    let mut ports = Vec::new();
    for wanted in &config.ports {
        let host = claim(wanted.host, &used)
            .map_err(|e| failure(&format!("finding a free port on 127.0.0.1: {e}"), None))?;
        if host != wanted.host {
            let guest = wanted.guest;
            progress.warn(format!(
                "port {} cannot be had: the guest's port {guest} is on port {host} in this run",
                wanted.host
            ));
        }
        used.push(host);
        ports.push(Published { host, ..*wanted });
    }
    Ok(ports)
}

/// This port, or another one, that is not among those used already.
fn claim(wanted: u16, used: &[u16]) -> std::io::Result<u16> {
    let mut port = free_port(Some(wanted))?;
    while used.contains(&port) {
        port = free_port(None)?;
    }
    Ok(port)
}

/// What a volume shows must be there: QEMU would say so in words of its own.
fn volumes(config: &MachineConfig) -> Result<(), Failure> {
    let is_gone = |source: &&str| !Path::new(source).is_dir();
    let Some(gone) = config.volumes.iter().map(|v| v.source.as_str()).find(is_gone) else {
        return Ok(());
    };
    let hint = format!(
        "Put it back, or name the volumes anew with `nsvm machine set --volume SRC:DST {0}` \
         (none: `nsvm machine set --volume \"\" {0}`)",
        config.name
    );
    Err(failure(&format!("the volume \"{gone}\" is no directory"), Some(hint)))
}

/// Writes what the guest is told at this start; `None` when that is nothing.
fn settings_file(context: &Context, config: &MachineConfig) -> Result<Option<PathBuf>, Failure> {
    let paths = context.store.paths(&config.name);
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|e| failure(&format!("reading \"{}\": {e}", path.display()), None))
    };
    let keys = match &config.changes.copied {
        None => None,
        Some(copied) => Some((copied, read(&paths.host_key())?, read(&paths.identity_public())?)),
    };
    let told = Settings {
        host_name: config.changes.renamed.then_some(config.name.as_str()),
        time_zone: config.changes.time_zone.as_deref(),
        identity: keys.as_ref().map(|(copied, host_key, user_key)| Identity {
            machine_id: &copied.machine_id,
            host_key,
            old_user_key: &copied.user_key,
            user_key: user_key.trim_end(),
        }),
        volumes: &config.volumes,
    };
    let Some(text) = settings::render(&told) else { return Ok(None) };
    let path = paths.settings();
    write_atomic(&path, text.as_bytes(), Access::Owner)
        .map_err(|e| failure(&format!("writing \"{}\": {e}", path.display()), None))?;
    Ok(Some(path))
}

/// What of a start is found out or written anew each time.
struct Passed {
    ram: Ram,
    base: PathBuf,
    kernel: Option<Kernel>,
    ssh_port: u16,
    ports: Vec<Published>,
    environment: PathBuf,
    settings: Option<PathBuf>,
    layers: Vec<PathBuf>,
}

/// Writes what this host's environment has for the guest. The file is there
/// also when that is nothing: a guest that is resumed finds the devices it had.
fn environment(context: &Context, config: &MachineConfig) -> Result<PathBuf, Failure> {
    let path = context.store.paths(&config.name).environment();
    write_atomic(&path, environment_lines(context).as_bytes(), Access::Owner)
        .map_err(|e| failure(&format!("writing \"{}\": {e}", path.display()), None))?;
    Ok(path)
}

pub fn environment_lines(context: &Context) -> String {
    context.proxies.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

fn describe(context: &Context, config: &MachineConfig, facts: &Facts, passed: Passed) -> Launch {
    let paths = context.store.paths(&config.name);
    let accelerator = facts.choice.in_use;
    let translated = accelerator == Accelerator::Tcg;
    let tsc = facts.tsc_khz.filter(|_| translated);
    let able = Able { accelerator, microvm: facts.qemu.features.microvm, tsc: tsc.is_some() };
    let board = Board::choose(config.image.arch, passed.kernel.as_ref(), able);
    Launch {
        host: Host::current(),
        arch: config.image.arch,
        board,
        choice: facts.choice.clone(),
        tcg_threads: TcgThreads::sound_for(facts.qemu.features.version),
        sandbox: facts.qemu.features.sandbox,
        firmware: facts.firmware.clone().map(|found| own_firmware(found, &paths)),
        name: config.name.clone(),
        uuid: config.uuid.clone(),
        cpus: config.resources.cpus,
        memory: config.resources.memory,
        ram: passed.ram,
        overlay: paths.overlay(),
        layers: passed.layers,
        base: passed.base,
        base_format: config.image.format,
        ignition: config.provisioning.by_ignition().then(|| paths.ignition()),
        seed: config.provisioning.by_cloud_init().then(|| paths.seed()),
        environment: Some(passed.environment),
        settings: passed.settings,
        volumes: config.volumes.iter().enumerate().map(shared).collect(),
        ssh_port: passed.ssh_port,
        ports: passed.ports,
        qmp_socket: paths.qmp_socket().into(),
        ready_socket: paths.ready_socket().into(),
        link_socket: paths.link_socket().into(),
        serial_log: paths.serial_log(),
        kernel_arguments: Some(kernel_arguments(translated).to_owned()),
        kernel: passed.kernel,
        tsc_khz: tsc.filter(|_| board == Board::MicroVm),
        entry: Entry::Boot,
    }
}

/// The host's firmware with the machine's own variables.
fn own_firmware(found: Firmware, paths: &MachinePaths) -> Firmware {
    match found {
        Firmware::Flash { code, .. } => {
            Firmware::Flash { code, variables: paths.firmware_variables() }
        }
        image @ Firmware::Image(_) => image,
    }
}

/// Makes those variables where there are none.
fn firmware_variables(facts: &Facts, paths: &MachinePaths) -> Result<(), Failure> {
    let Some(Firmware::Flash { variables, .. }) = &facts.firmware else { return Ok(()) };
    let own = paths.firmware_variables();
    ensure_variables(variables, &own).map_err(|e| {
        let from = variables.display();
        failure(&format!("copying \"{from}\" to \"{}\": {e}", own.display()), None)
    })
}

fn shared((index, volume): (usize, &Volume)) -> SharedDir {
    SharedDir {
        tag: settings::tag(index),
        path: PathBuf::from(&volume.source),
        read_only: volume.read_only,
    }
}

/// A kernel that panics starts again instead of hanging for ever. Translated
/// code does not speculate: work-arounds for CPU bugs would cost time there and
/// win nothing.
const fn kernel_arguments(translated: bool) -> &'static str {
    if translated { "panic=5 mitigations=off" } else { "panic=5" }
}

fn failure(message: &impl std::fmt::Display, hint: Option<String>) -> Failure {
    Failure { message: message.to_string(), hint }
}
