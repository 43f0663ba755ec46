//! What every use case needs to know about its surroundings. Filled in by the
//! command line, which alone reads the environment.

use std::path::{Path, PathBuf};

use crate::image::Choices;
use crate::machine::config::Arch;
use crate::qemu::endpoint::Kind;
use crate::settings::MachineDefaults;
use crate::store::Store;

use super::Refusal;

/// Directories and the few settings that come from the environment.
#[derive(Debug, Clone)]
pub struct Context {
    pub store: Store,
    /// This program, to start supervisors with.
    pub program: PathBuf,
    /// What supervisors log; none: what `NSVM_LOG` says.
    pub log: Option<&'static str>,
    /// A QEMU to use instead of the one found.
    pub qemu: Option<PathBuf>,
    /// An agent to install instead of the one shipped with this program.
    pub agent: Option<PathBuf>,
    /// What the environment and the config file choose about images.
    pub image: Choices,
    /// What new machines get where no flag says.
    pub machine: MachineDefaults,
    /// Whether commands start a machine that is stopped.
    pub auto_start: bool,
    /// How supervisors reach their QEMU.
    pub endpoints: Kind,
    /// The file of podman's connections, where there is no podman command.
    pub podman_connections: PathBuf,
    /// Where the caller is; none: nobody can tell, or it is gone.
    pub directory: Option<PathBuf>,
    /// Tells the user something beside what a command prints.
    pub aside: fn(&str),
    /// The proxy variables that guests take over at a start.
    pub proxies: Vec<(String, String)>,
}

impl Context {
    /// The agent for guests of `arch`: beside this program, or where a
    /// package puts it.
    pub fn agent_for(&self, arch: Arch) -> Result<PathBuf, Refusal> {
        agent_for(self.agent.as_deref(), &self.program, arch)
    }
}

/// The agent that was `chosen`, or else the one for `arch` that belongs to
/// `program`.
pub fn agent_for(chosen: Option<&Path>, program: &Path, arch: Arch) -> Result<PathBuf, Refusal> {
    if let Some(path) = chosen {
        return Ok(path.to_owned());
    }
    let candidates = agent_places(program, arch);
    let found = candidates.iter().find(|path| path.is_file()).cloned();
    found.ok_or_else(|| {
        let places: Vec<_> = candidates.iter().map(|p| p.display().to_string()).collect();
        Refusal::new(format!(
            "the guest agent for {} is missing (looked for {})",
            arch.name(),
            places.join(", ")
        ))
        .hint("Build it with `make build`, or reinstall nsvm")
    })
}

/// Where the agent may be: the exact architecture first, the plain name only
/// for guests like the host.
fn agent_places(program: &Path, arch: Arch) -> Vec<PathBuf> {
    let dir = program.parent().unwrap_or(Path::new("."));
    let exact = format!("nsvm-agent-{}", arch.name());
    let mut places = vec![dir.join(&exact), dir.join("../libexec/nsvm").join(&exact)];
    if arch == Arch::host() {
        places.push(dir.join("nsvm-agent"));
        places.push(dir.join("../libexec/nsvm/nsvm-agent"));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_of_another_architecture_never_gets_the_plain_agent() {
        let other = if Arch::host() == Arch::X86_64 { Arch::Aarch64 } else { Arch::X86_64 };
        let places = agent_places(Path::new("/opt/bin/nsvm"), other);
        assert!(places.iter().all(|path| path.to_string_lossy().ends_with(other.name())));
        let own = agent_places(Path::new("/opt/bin/nsvm"), Arch::host());
        assert!(own.contains(&PathBuf::from("/opt/bin/nsvm-agent")));
    }
}
