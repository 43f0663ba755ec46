//! A guest that cloud-init makes, from init to removal.

use std::io::Read as _;

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
    let mut options = features::options(&home, By::CloudInit);
    options.extend(["--username", "ada"].map(str::to_owned));
    let machine = Machine::made(home, NAME, "debian-local-cloud", &options);
    machine.tell("first boot by cloud-init", first_boot);
    machine.tell("every feature, by cloud-init", features::all);
    machine.tell("what cloud-init says", its_own_word);
    machine.tell("what cloud-init's schema says", its_schema);
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

/// cloud-init did all of it.
fn its_own_word(machine: &Machine) {
    let status = machine.run(["exec", "cloud-init", "status", "--wait", "--format", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout()).unwrap();
    assert_eq!(status["status"], "done", "{status}");
    assert_eq!(status["errors"], serde_json::json!([]), "{status}");
    assert_eq!(status["recoverable_errors"], serde_json::json!({}), "{status}");
    assert!(status["detail"].as_str().unwrap().contains("NoCloud"), "{status}");
}

/// Its own schema finds nothing wrong with what it merged of the user's part and
/// ours, nor with ours alone.
fn its_schema(machine: &Machine) {
    let said = machine.says(["sudo", "cloud-init", "schema", "--system"]);
    for kind in ["user-data", "network-config"] {
        assert!(said.contains(&format!("Valid schema {kind}")), "{said}");
    }
    let ours = written_alone(&machine.home);
    let said = schema_of(machine, &ours).exits(0).stdout();
    assert!(said.contains("Valid schema"), "{said}");
    let broken = ours.replacen("\"users\": [", "\"users\": 7, \"others\": [", 1);
    assert_ne!(broken, ours);
    assert_ne!(schema_of(machine, &broken).code(), 0, "it accepts everything");
}

fn schema_of(machine: &Machine, user_data: &str) -> Ran {
    let read = ["sudo", "cloud-init", "schema", "--config-file", "/dev/stdin"];
    let mut command = machine.home.nsvm(["--machine", NAME, "exec"].into_iter().chain(read));
    Ran(command.write_stdin(user_data).output().unwrap())
}

/// The user data of a machine that asks for every feature, without a part of the
/// user's. Nobody boots it.
fn written_alone(home: &Home) -> String {
    let authority = home.path().join("authority.pem");
    let asked = ["--timezone", "Asia/Kathmandu", "--swap", "64", "--guest-ca"];
    let init = ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "1"];
    let who = ["--provisioner", "cloud-init", "alone"];
    home.run([&init[..], &asked, &[authority.to_str().unwrap()], &who].concat()).exits(0);
    let seed = std::fs::read(home.path().join("data/alone/seed.img")).unwrap();
    let volume = fatfs::FileSystem::new(std::io::Cursor::new(seed), fatfs::FsOptions::new());
    let mut text = String::new();
    volume.unwrap().root_dir().open_file("user-data").unwrap().read_to_string(&mut text).unwrap();
    home.run(["machine", "rm", "-f", "alone"]).exits(0);
    text
}

/// They ran after ours.
fn own_commands(machine: &Machine) {
    assert_eq!(machine.says(["cat", "/var/tmp/own-ran"]), "enabled");
}
