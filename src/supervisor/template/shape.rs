//! Which template is a machine's.

use sha2::{Digest, Sha256};

use crate::app::Context;
use crate::machine::config::MachineConfig;
use crate::machine::template::Shape;
use crate::provision::guest::Guest;
use crate::provision::ignition;
use crate::provision::keys::KeyPair;
use crate::qemu::accel::{Accelerator, Host, Os};
use crate::qemu::facts::Facts;
use crate::supervisor::launch;
use crate::supervisor::lifecycle::Failure;

/// The shape of a machine that is provisioned as any other like it.
pub fn of(
    context: &Context,
    config: &MachineConfig,
    facts: &Facts,
    agent_sha256: &str,
) -> Result<Shape, Failure> {
    Ok(Shape {
        hardware: launch::common_hardware(context, config, facts)?,
        image_sha256: config.image.sha256.clone(),
        disk_size: config.resources.disk_size,
        guest_sha256: digest(&ignition::render(&nobody(config), None)),
        agent_sha256: agent_sha256.to_owned(),
        environment_sha256: digest(&launch::environment_lines(context)),
    })
}

/// Why QEMU can have no template here.
pub fn impossible(os: Os, accelerator: Accelerator) -> Option<&'static str> {
    match (os, accelerator) {
        (Os::Windows, _) => Some("QEMU has no memory in a file on Windows"),
        (_, Accelerator::Whpx) => Some("QEMU cannot save a guest that runs under whpx"),
        _ => None,
    }
}

/// The same for this host.
pub fn impossible_here(facts: &Facts) -> Option<&'static str> {
    impossible(Host::current().os, facts.choice.in_use)
}

/// The guest, without what says whose it is.
fn nobody(config: &MachineConfig) -> Guest<'_> {
    const NONE: &KeyPair = &KeyPair { private: String::new(), public: String::new() };
    Guest {
        hostname: "",
        username: &config.ssh.username,
        uid: config.ssh.uid,
        authorized_key: "",
        host_key: NONE,
        time_zone: "",
        swap: config.resources.swap,
        authorities: &[],
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_memory_cannot_be_in_a_file_there_are_none() {
        assert!(impossible(Os::Windows, Accelerator::Tcg).is_some());
        assert!(impossible(Os::Linux, Accelerator::Whpx).is_some());
        for os in [Os::Linux, Os::MacOs] {
            assert_eq!(impossible(os, Accelerator::Tcg), None);
        }
        assert_eq!(impossible(Os::Linux, Accelerator::Kvm), None);
    }
}
