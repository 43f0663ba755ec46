//! What the guest itself says about how it was made.

use std::process::Command;

use crate::common::Ran;
use crate::machine::{Machine, NAME};

pub fn resources(machine: &Machine) {
    assert_eq!(machine.says(["nproc"]), "2");
    let memory: f64 = machine
        .says(["sed", "-n", "s/^MemTotal: *\\([0-9]*\\) kB/\\1/p", "/proc/meminfo"])
        .parse()
        .unwrap();
    // The kernel keeps some for itself.
    assert!((0.85..=1.0).contains(&(memory / 1024.0 / 1024.0)), "{memory} KiB");
}

pub fn ignition_ran(machine: &Machine) {
    let result = machine.says(["sudo", "cat", "/etc/.ignition-result.json"]);
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["userConfigProvided"], true);
    let log = machine.says(["sudo", "cat", "/var/log/ignition.log"]);
    assert!(log.contains("Stage: files") && log.contains("files passed"), "{log}");
    // The package's own validator finds nothing to say about what we rendered.
    let config = machine.home.path().join(format!("config/machine/{NAME}.ign"));
    let config = std::fs::read(config).unwrap();
    let validate = ["--machine", NAME, "exec", "ignition-validate", "-"];
    let said = Ran(machine.home.nsvm(validate).write_stdin(config).output().unwrap()).exits(0);
    assert_eq!((said.stdout().as_str(), said.stderr().as_str()), ("", ""));
    let broken = Ran(machine.home.nsvm(validate).write_stdin("{}").output().unwrap());
    assert_ne!(broken.code(), 0, "it accepts everything");
}

/// The server does not even offer it.
pub fn no_password(machine: &Machine) {
    let port = machine.inspect()["SSHConfig"]["Port"].to_string();
    let tried = Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
        .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "PubkeyAuthentication=no"])
        .args(["-o", "PreferredAuthentications=password,keyboard-interactive"])
        .args(["-o", "ConnectTimeout=60", "-p", &port, "core@127.0.0.1", "true"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tried.stderr).into_owned();
    assert_eq!(tried.status.code(), Some(255), "{said}");
    assert!(said.contains("Permission denied (publickey)"), "{said}");
}

/// The key that the guest shows is the one nsvm made, and the user's own
/// `ssh` gets in with the machine's key.
pub fn host_key(machine: &Machine) {
    let made = machine.config()["Ssh"]["HostKey"].as_str().unwrap().to_owned();
    let words: Vec<&str> = made.split_whitespace().take(2).collect();
    let inspected = machine.inspect();
    let port = inspected["SSHConfig"]["Port"].to_string();
    let hosts = machine.home.path().join("known_hosts");
    std::fs::write(&hosts, format!("[127.0.0.1]:{port} {}\n", words.join(" "))).unwrap();
    let identity = inspected["SSHConfig"]["IdentityPath"].as_str().unwrap().to_owned();
    let tried = Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile=\"{}\"", hosts.display()))
        .args(["-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=60", "-i", &identity])
        .args(["-p", &port, "core@127.0.0.1", "cat /etc/ssh/ssh_host_ed25519_key.pub"])
        .output()
        .unwrap();
    assert!(tried.status.success(), "{}", String::from_utf8_lossy(&tried.stderr));
    assert!(String::from_utf8_lossy(&tried.stdout).starts_with(&words.join(" ")));
}

pub fn user_systemd(machine: &Machine) {
    let controllers = machine.says([
        "cat",
        "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers",
    ]);
    for wanted in ["cpu", "memory", "pids"] {
        assert!(controllers.split_whitespace().any(|c| c == wanted), "{controllers}");
    }
    let scope =
        ["systemd-run", "--user", "--wait", "--collect", "-q", "-p", "MemoryMax=64M", "true"];
    machine.run(["exec"].into_iter().chain(scope)).exits(0);
    assert_eq!(machine.says(["loginctl", "show-user", "core", "-P", "Linger"]), "yes");
}

pub fn healthy(machine: &Machine) {
    let state = machine.run(["exec", "systemctl", "is-system-running", "--wait"]).stdout();
    let failed = machine.says(["systemctl", "--failed", "--no-legend", "--plain"]);
    assert_eq!((state.trim(), failed.as_str()), ("running", ""));
    // Every kind of namespace is there.
    assert_eq!(machine.says(["sh", "-c", "ls /proc/self/ns | grep -vc _for_children"]), "8");
}
