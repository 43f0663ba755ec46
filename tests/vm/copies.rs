//! A copy of a machine under yet another name, beside the machine itself.

use std::fs;
use std::process::{Child, Stdio};

use crate::common::{Home, Ran, processes_with};
use crate::machine::{Machine, NAME};

pub const COPY: &str = "t4";

/// Seconds: two guests boot at once, on a host that may be busy.
pub const PATIENCE: &str = "580";

/// Made while the machine is stopped, and named anew. Its start begins at once:
/// both boot at the same time.
pub fn begin(machine: &Machine) -> Child {
    let home = &machine.home;
    home.run(["machine", "clone", NAME, "t3"]).exits(0);
    home.run(["machine", "rename", "t3", COPY]).exits(0);
    // The image has no Ansible, and this one has not been told yet.
    let data = home.path().join("data");
    fs::copy(data.join(NAME).join("playbook.yaml"), data.join(COPY).join("playbook.yaml")).unwrap();
    home.run(["machine", "set", "--timezone", "Europe/Berlin", "-p", "", COPY]).exits(0);
    let mut start = home.spawnable(["machine", "start", "--timeout", PATIENCE, COPY]);
    start.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Somebody else with the same files; and what ends it leaves the first alone.
pub fn end(machine: &Machine, start: Child) {
    let home = &machine.home;
    Ran(start.wait_with_output().unwrap()).exits(125).complains(&[
        "machine \"t4\" runs, but its image has no Ansible for the playbook",
        "ansible-playbook -i localhost, playbook.yaml",
    ]);
    let says = |args: &[&str]| {
        let all = ["--machine", COPY, "exec"].into_iter().chain(args.iter().copied());
        home.run(all).exits(0).stdout().trim().to_owned()
    };
    assert_eq!(says(&["cat", "kept"]), "kept");
    assert_eq!(says(&["uname", "-n"]), COPY);
    assert_eq!(says(&["cat", "/etc/hostname"]), COPY);
    assert_eq!(says(&["readlink", "/etc/localtime"]), "../usr/share/zoneinfo/Europe/Berlin");
    assert_ne!(says(&["cat", "/etc/machine-id"]), machine.says(["cat", "/etc/machine-id"]));
    let key = "/etc/ssh/ssh_host_ed25519_key.pub";
    assert_ne!(says(&["cat", key]), machine.says(["cat", key]));
    // Neither lets the other's key in.
    let own = fs::read_to_string(home.path().join("data/t4/id_ed25519.pub")).unwrap();
    let all = "cat ~core/.ssh/authorized_keys.d/* /root/.ssh/authorized_keys* ~root/.ssh/*.d/*";
    let keys = says(&["sudo", "sh", "-c", &format!("{all} 2>/dev/null | grep .")]);
    assert!(keys.lines().count() >= 2 && keys.lines().all(|key| key == own.trim()), "{keys}");
    assert_ne!(machine.inspect()["SSHConfig"]["Port"], inspected_port(home));
    let state = home.run(["machine", "inspect", "--format", "{{.State}}", NAME, COPY]);
    state.exits(0).prints("running\nrunning\n");
    home.run(["machine", "stop", COPY]).exits(0);
    assert_eq!(machine.says(["echo", "still here"]), "still here");
    home.run(["machine", "rm", "-f", COPY]).exits(0);
    assert_eq!(processes_with("nsvm-t4"), Vec::<u32>::new());
}

fn inspected_port(home: &Home) -> serde_json::Value {
    let json = home.run(["machine", "inspect", COPY]).exits(0).stdout();
    let all: serde_json::Value = serde_json::from_str(&json).unwrap();
    all[0]["SSHConfig"]["Port"].clone()
}

/// A guest that boots from no image as a whole is left to its packages; one
/// that does (this one pretends to) runs its own program for it.
pub fn operating_system(machine: &Machine) {
    let os =
        |args: &[&str]| machine.home.run(["machine", "os"].into_iter().chain(args.iter().copied()));
    os(&["upgrade", NAME]).exits(125).complains(&["it has no bootc or rpm-ostree", "Hint: "]);
    os(&["apply", "--restart", "-x y", NAME]).exits(125);
    let pretend = "printf '#!/bin/sh\\necho \"bootc $*\"\\n' >/usr/local/bin/bootc
        chmod 755 /usr/local/bin/bootc; touch /run/ostree-booted";
    machine.says(["sudo", "sh", "-c", pretend]);
    os(&["upgrade", NAME]).exits(0).prints("bootc upgrade\n").complains(&["machine restart t1"]);
    os(&["apply", "quay.io/a/b:1", NAME]).exits(0).prints("bootc switch quay.io/a/b:1\n");
    machine.says(["sudo", "rm", "/usr/local/bin/bootc", "/run/ostree-booted"]);
}

/// Of a machine that runs.
pub fn health(machine: &Machine) {
    let findings = || {
        let json = machine.home.run(["machine", "doctor", "--format", "json", NAME]).exits(0);
        serde_json::from_str::<Vec<serde_json::Value>>(&json.stdout()).unwrap()
    };
    let status = |check: &str| {
        let all = findings();
        let found = all.iter().find(|f| f["Check"] == check && f["Machine"] == NAME);
        found.unwrap_or_else(|| panic!("no {check} in {all:#?}")).clone()
    };
    for check in ["guest", "agent version", "clock", "volume"] {
        assert_eq!(status(check)["Status"], "ok", "{check}");
    }
    let current = machine.home.run(["machine", "info", "-f", "{{.Host.CurrentMachine}}"]);
    current.exits(0).prints("t1\n");
}
