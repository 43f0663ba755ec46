//! Everything that is read from the environment, in one place.

use std::env;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context as _;
use directories::{BaseDirs, ProjectDirs};

use super::printer::{Printer, Verbosity};
use super::shared::LogLevel;
use super::{interrupt, report};
use crate::app::local::Local;
use crate::app::start::ensure_started;
use crate::app::{Context, Place, Refusal};
use crate::host;
use crate::image::Choices;
use crate::machine::name::MachineName;
use crate::machine::paths::{Dirs, sockets_fit};
use crate::machine::proxy;
use crate::qemu::endpoint::Kind;
use crate::settings::MachineDefaults;
use crate::settings::layers::{Layers, Places};
use crate::store::Store;

/// `--log-level`, which supervisors take over.
static LOG_LEVEL: OnceLock<LogLevel> = OnceLock::new();

/// What supervisors that this run starts shall log.
pub fn log_from(level: Option<LogLevel>) {
    if let Some(level) = level {
        LOG_LEVEL.get_or_init(|| level);
    }
}

/// The surroundings of this run.
///
/// `NSVM_HOME` puts everything below one directory; `NSVM_IMAGE_CACHE` names
/// the cache of base images; `NSVM_QEMU`, `NSVM_AGENT` and `NSVM_STREAM_URL`
/// override what would be found; `NSVM_CONFIG` names the config file, and
/// variables such as `NSVM_MACHINE_CPUS` stand for one key of it.
pub fn context() -> anyhow::Result<Context> {
    let dirs = dirs()?;
    create_runtime(&dirs)?;
    let settings = layers(&dirs)?.settle();
    Ok(Context {
        store: Store::new(dirs),
        program: own_path()?,
        log: LOG_LEVEL.get().map(|level| level.name()),
        qemu: path("NSVM_QEMU"),
        agent: path("NSVM_AGENT"),
        image: image_choices().over(settings.image),
        machine: at_home(settings.machine.settle()),
        auto_start: settings.run.auto_start.unwrap_or(false),
        endpoints: endpoints(),
        podman_connections: podman_connections(),
        directory: env::current_dir().ok(),
        aside: report::aside,
        proxies: proxies(),
    })
}

/// The machines alone, whatever config files say.
pub fn store() -> anyhow::Result<Store> {
    Ok(Store::new(dirs()?))
}

/// What config files and the environment say.
pub fn settings() -> anyhow::Result<Layers> {
    layers(&dirs()?)
}

fn layers(dirs: &Dirs) -> anyhow::Result<Layers> {
    let places = Places {
        system: path("NSVM_SYSTEM_CONFIG").unwrap_or_else(host::system_config_dir),
        user: dirs.config.clone(),
        named: path("NSVM_CONFIG"),
    };
    Ok(Layers::read(&places, text)?)
}

/// What the environment chooses about images.
fn image_choices() -> Choices {
    let cert_file = path("SSL_CERT_FILE").filter(|_| !host::tls_reads_ssl_cert_file());
    Choices { stream_url: text("NSVM_STREAM_URL"), ssl_cert_file: cert_file, ..Choices::default() }
}

/// The machine that namespace commands run in: named on the command line, or
/// by `NSVM_MACHINE`, or the default one.
pub fn machine(named: Option<MachineName>) -> anyhow::Result<MachineName> {
    let variable = text("NSVM_MACHINE");
    match (named, variable) {
        (Some(name), _) => Ok(name),
        (None, Some(name)) => name.parse().context("reading NSVM_MACHINE"),
        (None, None) => Ok(Store::new(dirs()?).default_name()),
    }
}

/// Where namespace commands run.
#[derive(Debug, Clone)]
pub enum Target {
    Machine(MachineName, Stopped),
    /// On this host.
    Local,
}

/// What becomes of a command for a machine that is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The machine is started.
    Start,
    /// What `[run] auto_start` says.
    AsConfigured,
}

/// The same with what is needed to get there. Starts a machine that is stopped,
/// if that is wanted.
pub fn place(target: &Target) -> anyhow::Result<Place> {
    Ok(match target {
        Target::Machine(name, stopped) => {
            let context = context()?;
            if *stopped == Stopped::Start || context.auto_start {
                started(&context, name)?;
            }
            Place::Machine { context: Box::new(context), name: name.clone() }
        }
        Target::Local => Place::Local(Local { program: own_path()?, agent: path("NSVM_AGENT") }),
    })
}

/// Only a screen is told how far that is: a script did not ask for it.
fn started(context: &Context, name: &MachineName) -> anyhow::Result<()> {
    let screen = std::io::stderr().is_terminal();
    let printer = Printer::new(if screen { Verbosity::Normal } else { Verbosity::Quiet });
    interrupt::during(|interrupted| ensure_started(context, name, &printer, interrupted))
}

/// Behind a link such as Homebrew's: the agents are beside the program itself.
fn own_path() -> anyhow::Result<PathBuf> {
    let path = env::current_exe().context("finding this program's own path")?;
    Ok(host::resolved(path))
}

/// A variable that is set to something.
fn text(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|text| !text.is_empty())
}

/// A monitor on loopback obeys any user of this host, so it is for tests under
/// Wine alone.
fn endpoints() -> Kind {
    if cfg!(windows) && text("NSVM_TEST_LOOPBACK").is_some() {
        Kind::Loopback
    } else {
        Kind::Socket
    }
}

/// `$HOME` in volumes is the user's home.
fn at_home(defaults: MachineDefaults) -> MachineDefaults {
    let Some(base) = BaseDirs::new() else { return defaults };
    let home = base.home_dir().to_string_lossy();
    let volumes = defaults.volumes.iter().map(|volume| volume.replace("$HOME", &home)).collect();
    MachineDefaults { volumes, ..defaults }
}

/// The shell that is in use, as far as it says so.
pub fn shell() -> Option<String> {
    text("SHELL")
}

/// As podman finds it: containers/common, `pkg/config`.
fn podman_connections() -> PathBuf {
    if let Some(file) = path("PODMAN_CONNECTIONS_CONF") {
        return file;
    }
    let base = BaseDirs::new();
    let home = base.as_ref().map_or(Path::new("."), BaseDirs::home_dir);
    let config = match (cfg!(windows), &base) {
        (true, Some(base)) => base.config_dir().to_owned(),
        _ => path("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")),
    };
    config.join("containers/podman-connections.json")
}

/// Guests reach this host's loopback at another address.
fn proxies() -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    proxy::for_guest(env::vars_os().filter_map(text))
}

/// An absolute path from a variable that is set to something.
fn path(variable: &str) -> Option<PathBuf> {
    let value = env::var_os(variable).filter(|value| !value.is_empty())?;
    Some(std::path::absolute(&value).unwrap_or_else(|_| value.into()))
}

fn dirs() -> anyhow::Result<Dirs> {
    if let Some(home) = path("NSVM_HOME") {
        let cache = path("NSVM_IMAGE_CACHE").unwrap_or_else(|| home.join("cache/images"));
        let runtime = runtime(&home.join("state"));
        return Ok(Dirs::below(&home, cache, runtime));
    }
    let project = ProjectDirs::from("", "", "nsvm").ok_or_else(|| {
        Refusal::new("cannot tell where this user's files belong: there is no home directory")
            .hint("Set HOME, or NSVM_HOME to a directory for nsvm's files")
    })?;
    // Only Linux tells state from data.
    let state = project.state_dir().unwrap_or(project.data_local_dir()).to_owned();
    Ok(Dirs {
        config: project.config_dir().to_owned(),
        data: project.data_dir().join("machines"),
        cache: path("NSVM_IMAGE_CACHE").unwrap_or_else(|| project.cache_dir().join("images")),
        runtime: runtime(&state),
        state,
    })
}

/// Below the state directory while sockets fit there, else a short path that
/// only depends on it.
fn runtime(state: &Path) -> PathBuf {
    let below = state.join("run");
    if sockets_fit(&below) { below } else { host::short_runtime_dir(&tag(state)) }
}

/// Tells the runtime directories of different homes apart.
fn tag(state: &Path) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(state.as_os_str().as_encoded_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// A runtime directory below /tmp must be ours before anything trusts it.
fn create_runtime(dirs: &Dirs) -> anyhow::Result<()> {
    if dirs.runtime.starts_with(&dirs.state) {
        return Ok(());
    }
    host::create_private_dir(&dirs.runtime)
        .with_context(|| format!("creating the runtime directory \"{}\"", dirs.runtime.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_state_directory_gets_a_short_runtime_directory() {
        let deep = PathBuf::from("/h".repeat(60));
        let short = runtime(&deep);
        assert!(sockets_fit(&short), "{}", short.display());
        assert_eq!(short, runtime(&deep));
        assert_ne!(short, runtime(&deep.join("other")));
        assert_eq!(runtime(Path::new("/home/a/state")), Path::new("/home/a/state/run"));
    }
}
