//! A guest that cloud-init makes, from init to removal.

use crate::common::{Home, Ran};
use crate::features::{self, By, ENVIRONMENT, PROXY_VARIABLES};
use crate::guest;
use crate::machine::Machine;

const NAME: &str = "c1";

/// cloud-init is Python: its first boot takes several times Ignition's, and
/// this asks for more than most.
const PATIENCE: &str = "580";

pub fn story() {
    let home = Home::sharing_images();
    let options = features::options(&home, By::CloudInit);
    let machine = Machine::made(home, NAME, "debian-local-cloud", &options);
    machine.tell("first boot by cloud-init", first_boot);
    machine.tell("every feature, by cloud-init", features::all);
    machine.tell("what cloud-init says", its_own_word);
    machine.tell("the user's own commands", own_commands);
    machine.tell("the guest is healthy", guest::healthy);
    machine.home.run(["machine", "rm", "--force", NAME]).exits(0);
    assert!(machine.home.traces_of(NAME).is_empty());
}

fn first_boot(machine: &Machine) {
    let mut start = machine.home.nsvm(["machine", "start", "--timeout", PATIENCE, NAME]);
    for name in PROXY_VARIABLES {
        start.env_remove(name);
    }
    Ran(start.envs(ENVIRONMENT).output().unwrap()).exits(0);
}

/// cloud-init accepts our part by its schema and did all of it.
fn its_own_word(machine: &Machine) {
    let status = machine.run(["exec", "cloud-init", "status", "--wait", "--format", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout()).unwrap();
    assert_eq!(status["status"], "done", "{status}");
    assert_eq!(status["errors"], serde_json::json!([]), "{status}");
    assert_eq!(status["recoverable_errors"], serde_json::json!({}), "{status}");
    assert!(status["detail"].as_str().unwrap().contains("NoCloud"), "{status}");
    // Both parts as cloud-init merged them, against its own schema.
    let merged = "/var/lib/cloud/instance/cloud-config.txt";
    let said = machine.says(["sudo", "cloud-init", "schema", "--config-file", merged]);
    assert!(said.starts_with("Valid schema"), "{said}");
}

/// They ran after ours.
fn own_commands(machine: &Machine) {
    assert_eq!(machine.says(["cat", "/var/tmp/own-ran"]), "enabled");
}
