//! A guest that the user's own Ignition file makes: nothing of nsvm is in it.

use std::fs;
use std::process::Command;

use crate::common::Home;
use crate::machine::Machine;

const NAME: &str = "o1";

/// It boots, and the key of the file gets in; all that needs nsvm's agent says why
/// it cannot be.
pub fn story() {
    let home = Home::sharing_images();
    let key = home.path().join("own key");
    let mut made = Command::new("ssh-keygen");
    made.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    assert!(made.status().unwrap().success());
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let own = serde_json::json!({
        "ignition": { "version": "3.1.0" },
        "passwd": { "users": [{ "name": "core", "sshAuthorizedKeys": [public.trim()] }] },
    });
    let file = home.path().join("own.ign");
    fs::write(&file, own.to_string()).unwrap();
    let options = ["--ignition-path".to_owned(), file.to_str().unwrap().to_owned()];
    let machine = Machine::made(home, NAME, "debian-local", &options);
    machine.tell("a guest of its user's own", told);
    machine.home.run(["machine", "rm", "--force", NAME]).exits(0);
    assert!(machine.home.traces_of(NAME).is_empty());
}

fn told(machine: &Machine) {
    let home = &machine.home;
    let started = home.run(["machine", "start", "--timeout", "580", NAME]).exits(0);
    started.prints(&format!("Machine \"{NAME}\" started successfully\n"));
    let inspected = machine.inspect();
    assert_eq!(inspected["State"], "running");
    assert_eq!(inspected["Agent"]["Ready"], false);
    let why = ["made with --ignition-path: nothing of nsvm is in the guest", "--ignition-merge"];
    for verb in [&["unshare", "-r", "true"][..], &["exec", "true"], &["lsns"], &["ns", "list"]] {
        machine.run(verb.iter().copied()).exits(125).complains(&why);
    }
    home.run(["machine", "ssh", NAME, "true"]).exits(125).complains(&why);
    home.run(["machine", "cp", "/etc/hostname", "o1:x"]).exits(125).complains(&why);
    let port = inspected["SSHConfig"]["Port"].to_string();
    let ssh = Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
        .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=60", "-p", &port, "-i"])
        .arg(home.path().join("own key"))
        .args(["core@127.0.0.1", "id -un; ls /etc/nsvm /usr/local/libexec/nsvm-agent"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&ssh.stdout), "core\n", "{ssh:?}");
    machine.home.run(["machine", "stop", NAME]).exits(0);
}
