//! From a machine config and host facts to a running QEMU.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::lifecycle::Failure;
use crate::app::Context;
use crate::fs::{Access, Lock, write_atomic};
use crate::image::Cache;
use crate::machine::config::MachineConfig;
use crate::machine::event::Progress;
use crate::qemu::accel::{Accelerator, Host};
use crate::qemu::command::{Launch, TcgThreads, argv};
use crate::qemu::facts::{self, Facts};
use crate::qemu::locate::Wanted;
use crate::qemu::port::free_port;
use crate::qemu::process::QemuProcess;

/// A command that asks whether the VM lives holds its lock for a moment.
const ASKERS_PATIENCE: Duration = Duration::from_secs(2);

/// A VM that was just started.
pub struct Launched {
    pub process: QemuProcess,
    pub ssh_port: u16,
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
    let host = Host::current();
    let wanted = Wanted { host, guest: config.image.arch, chosen: context.qemu.as_deref() };
    facts::survey(&wanted, &context.store.dirs().probe_cache(), progress)
        .map_err(|e| failure(&e, e.hint()))
}

/// Starts QEMU for the machine. Does not block, so that whoever calls it can
/// take hold of the process before anything else happens.
pub fn launch(
    context: &Context,
    config: &MachineConfig,
    facts: &Facts,
    progress: &dyn Progress,
) -> Result<Launched, Failure> {
    let ssh_port = port(context, config, progress)?;
    let environment = environment(context, config)?;
    let launch = describe(context, config, facts, ssh_port, environment);
    let paths = context.store.paths(&config.name);
    let lock = Lock::acquire(&paths.vm_lock(), ASKERS_PATIENCE)
        .map_err(|e| failure(&format!("locking \"{}\": {e}", paths.vm_lock().display()), None))?;
    // The console's log is this run's: what an earlier one printed only confuses.
    let _ = std::fs::remove_file(paths.serial_log());
    let process = QemuProcess::start(facts.qemu.path(), &argv(&launch), &paths.qemu_log(), lock)
        .map_err(|e| failure(&e, e.hint()))?;
    Ok(Launched {
        process,
        ssh_port,
        accelerator: serde_json::to_value(&facts.choice).unwrap_or_default(),
        translated: facts.choice.in_use == Accelerator::Tcg,
    })
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

/// Writes what this host's environment has for the guest; `None` when that is
/// nothing.
fn environment(context: &Context, config: &MachineConfig) -> Result<Option<PathBuf>, Failure> {
    let path = context.store.paths(&config.name).environment();
    if context.proxies.is_empty() {
        return Ok(None);
    }
    let lines: Vec<String> =
        context.proxies.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    write_atomic(&path, lines.concat().as_bytes(), Access::Owner)
        .map_err(|e| failure(&format!("writing \"{}\": {e}", path.display()), None))?;
    Ok(Some(path))
}

fn describe(
    context: &Context,
    config: &MachineConfig,
    facts: &Facts,
    ssh_port: u16,
    environment: Option<PathBuf>,
) -> Launch {
    let paths = context.store.paths(&config.name);
    let translated = facts.choice.in_use == Accelerator::Tcg;
    Launch {
        host: Host::current(),
        arch: config.image.arch,
        choice: facts.choice.clone(),
        tcg_threads: TcgThreads::sound_for(facts.qemu.features.version),
        sandbox: facts.qemu.features.sandbox,
        firmware: facts.firmware.clone(),
        name: config.name.clone(),
        uuid: config.uuid.clone(),
        cpus: config.resources.cpus,
        memory: config.resources.memory,
        overlay: paths.overlay(),
        ignition: config.provisioning.by_ignition().then(|| paths.ignition()),
        seed: config.provisioning.by_cloud_init().then(|| paths.seed()),
        environment,
        ssh_port,
        qmp_socket: paths.qmp_socket(),
        ready_socket: paths.ready_socket(),
        serial_log: paths.serial_log(),
        kernel_arguments: Some(kernel_arguments(translated).to_owned()),
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
