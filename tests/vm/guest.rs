//! What the guest itself says about how it was made.

use std::process::Command;

use crate::common::Ran;
use crate::machine::{Machine, NAME};

pub fn resources(machine: &Machine) {
    has(machine, 2, 1024, 12);
}

/// The guest has these CPUs, MiB of memory and GiB of disk.
#[track_caller]
pub fn has(machine: &Machine, cpus: u32, memory: u32, disk: u32) {
    assert_eq!(machine.says(["nproc"]), cpus.to_string());
    let size = machine.says(["df", "-B1M", "--output=size", "/"]);
    let size: u32 = size.lines().last().unwrap().trim().parse().unwrap();
    // The boot partitions and the file system keep some for themselves.
    assert!((disk * 960..=disk * 1024).contains(&size), "{size} MiB of {disk} GiB");
    // Not MemTotal, of which the kernel has kept some for itself.
    let found = machine.says(["lsmem", "--bytes", "--summary=only"]);
    let found = found.lines().find_map(|line| line.strip_prefix("Total online memory:")).unwrap();
    assert_eq!(found.trim(), (u64::from(memory) << 20).to_string());
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
/// `ssh` gets in as `ssh-config` says.
pub fn host_key(machine: &Machine) {
    let made = machine.config()["Ssh"]["HostKey"].as_str().unwrap().to_owned();
    let words: Vec<&str> = made.split_whitespace().take(2).collect();
    let entry = machine.home.run(["machine", "ssh-config", NAME]).exits(0).stdout();
    let file = machine.home.path().join("ssh config");
    std::fs::write(&file, &entry).unwrap();
    let tried = Command::new("ssh")
        .arg("-F")
        .arg(&file)
        .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=60", "nsvm-t1"])
        .arg("cat /etc/ssh/ssh_host_ed25519_key.pub")
        .output()
        .unwrap();
    assert!(tried.status.success(), "{entry}\n{}", String::from_utf8_lossy(&tried.stderr));
    assert!(String::from_utf8_lossy(&tried.stdout).starts_with(&words.join(" ")));

    let command = machine.home.run(["machine", "ssh-config", "--format", "cmd", NAME]);
    let line = format!("{} -F none -o ConnectTimeout=60 whoami", command.exits(0).stdout().trim());
    let tried = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&tried.stdout), "core\n", "{tried:?}");
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

/// After the first boot agent and sshd are there before systemd, and their
/// units take over when they are restarted.
pub fn early(machine: &Machine) {
    let root = |script: &str| machine.run(["exec", "--user-name", "root", "sh", "-c", script]);
    let what = "systemctl show -PActiveState ssh nsvm-agent; ls /run/nsvm";
    let seen = root(what).exits(0).stdout();
    let words: Vec<_> = seen.split_whitespace().collect();
    let early = ["inactive", "inactive", "agent.sock", "early-agent.pid", "early-ssh.pid"];
    assert_eq!(words, early);
    assert_eq!(machine.says(["cat", "/proc/self/cgroup"]), "0::/system.slice/nsvm-agent.service");
    root("systemctl restart ssh").exits(0);
    machine.home.run(["machine", "ssh", machine.name(), "true"]).exits(0);
    root("systemctl restart --no-block nsvm-agent; sleep 30").exits(125);
    let seen = root(what).exits(0).stdout();
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["active", "active", "agent.sock"]);
    // Another agent than this nsvm's is replaced, whether or not systemd is there yet.
    let noted = "/usr/local/libexec/nsvm-agent.sha256";
    let digest = machine.says(["cat", noted]);
    root(&format!("echo other >{noted}")).exits(0);
    machine.stop();
    machine.start();
    assert_eq!(machine.says(["cat", noted]), digest);
    let serving = "/usr/local/libexec/nsvm-agent serve";
    assert_eq!(machine.says(["pgrep", "-cxf", serving]), "1");
}
