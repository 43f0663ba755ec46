//! Named namespaces outlive agent, supervisor and host commands; after a
//! reboot they are gone, and told so.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crashes::{kill_9, supervisor};
use crate::machine::{Machine, NAME};

const SEEN: [&str; 4] = ["sh", "-c", "id -u; hostname; readlink /proc/self/ns/net", "--"];

fn inside(machine: &Machine) -> String {
    let ran = machine.run(["ns", "exec", "web", "--"].into_iter().chain(SEEN)).exits(0);
    ran.stdout()
}

fn agent_pid(machine: &Machine) -> String {
    machine.run(["exec", "pgrep", "-xf", "/usr/local/libexec/nsvm-agent serve"]).stdout()
}

fn inspect(machine: &Machine) -> Value {
    let all: Value =
        serde_json::from_str(&machine.run(["ns", "inspect", "web"]).exits(0).stdout()).unwrap();
    all[0].clone()
}

pub fn story(machine: &Machine) {
    machine.run(["ns", "create", "web", "--hostname", "inner"]).exits(0).prints("web\n");
    machine.run(["ns", "create", "web"]).exits(125).complains(&["exists already", "ns rm web"]);
    machine.run(["ns", "create", "../x"]).exits(125).complains(&["invalid name"]);
    let first = inside(machine);
    assert!(first.starts_with("0\ninner\nnet:["), "{first}");
    let daemon = "setsid -f sleep 1000 </dev/null >/dev/null 2>&1";
    machine.run(["ns", "exec", "web", "sh", "-c", daemon]).exits(0);

    let before = agent_pid(machine);
    // Ends its own link; a command that says nothing must hear of it too.
    let restart = "systemctl restart --no-block nsvm-agent; sleep 30";
    machine
        .run(["exec", "--user-name", "root", "sh", "-c", restart])
        .exits(125)
        .complains(&["the connection to the machine was lost"]);
    let end = Instant::now() + Duration::from_secs(60);
    while [before.as_str(), ""].contains(&agent_pid(machine).as_str()) {
        assert!(Instant::now() < end, "no other agent answers");
    }
    assert_eq!(inside(machine), first);
    kill_9(supervisor(machine));
    assert_eq!(inside(machine), first);

    let web = inspect(machine);
    assert_eq!((&web["State"], &web["Hostname"]), (&"running".into(), &"inner".into()));
    assert_eq!(web["Processes"].as_array().unwrap().len(), 1, "{web}");
    machine.run(["ns", "list", "-q"]).exits(0).prints("web\n");
    machine.run(["ns", "create", "other", "--user", "-r", "--net"]).exits(0);
    machine.run(["ns", "rm", "other"]).exits(0).prints("other\n");
    machine.run(["ns", "rm", "other"]).exits(125).complains(&["no namespace is named \"other\""]);
}

pub fn after_a_reboot(machine: &Machine) {
    let web = inspect(machine);
    assert_eq!(web["State"], "gone");
    let reason = "the machine has been started since it was made";
    assert_eq!(web["Reason"], reason);
    let again = "make it again with `nsvm ns create web`";
    machine.run(["ns", "exec", "web", "true"]).exits(125).complains(&[reason, again]);
    machine.run(["ns", "create", "web"]).exits(0);
    machine.run(["ns", "exec", "web", "id", "-u"]).exits(0).prints("0\n");
    machine.run(["ns", "rm", "web"]).exits(0).prints("web\n");
    machine.run(["ns", "list", "-q"]).exits(0).prints("");
}

/// Whatever its number, each of many terminals gets what it asked for.
pub fn many_at_once(machine: &Machine) {
    const COUNT: u8 = 200;
    machine.run(["ns", "create", "many"]).exits(0);
    let start = |number: u8| {
        let script = format!("echo {number} $(id -u); exit {number}");
        let exec = ["--machine", NAME, "ns", "exec", "many", "sh", "-c", &script];
        let mut command = machine.home.spawnable(exec);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let all: Vec<_> = (0..COUNT).map(start).collect();
    for (number, child) in (0..COUNT).zip(all) {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(number.into()));
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{number} 0\n"));
    }
    // Killing one ends all of its group, and nothing else in there.
    let exec = |script: &str| {
        let exec = ["--machine", NAME, "ns", "exec", "many", "sh", "-c", script];
        let mut command = machine.home.spawnable(exec);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        child
    };
    let mut stays = exec("echo ready; exec sleep 98771");
    let mut killed = exec("sleep 98772 & sh -c 'sleep 98773; :' & echo ready; wait");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let left = "while pgrep -fx 'sleep 9877[23]'; do sleep 0.1; done; pgrep -cfx 'sleep 98771'";
    assert_eq!(machine.says(["timeout", "60", "sh", "-c", left]).lines().last(), Some("1"));
    machine.run(["ns", "rm", "--force", "many"]).exits(0);
    assert_eq!(stays.wait().unwrap().code(), Some(137));
}

/// What lies about in the guest that a named namespace could leave.
const REMAINS: &str = "cat /proc/mounts; ip -o link | cut -d: -f2; \
    find /sys/fs/cgroup/nsvm -mindepth 1 -type d 2>/dev/null; ls -A /var/lib/nsvm/ns; \
    ls -A /run/netns 2>/dev/null; ps -e -o stat=,comm= | grep ^Z; \
    ps -e -o args= | grep -E '^(nsvm-agent hold|sleep 98781)'; lsns -n -o NS | wc -l; \
    ls /proc/$(pgrep -xf '/usr/local/libexec/nsvm-agent serve')/fd | wc -l";

/// With a network, limits, a mount and a daemon each.
pub fn rounds_leave_nothing(machine: &Machine) {
    let rounds = if std::env::var_os("NSVM_TEST_ALL").is_some() { 500 } else { 8 };
    let remains = || {
        let ran = machine.run(["exec", "--user-name", "root", "sh", "-c", REMAINS]);
        ran.stdout()
    };
    let before = remains();
    let daemon = "mount -t tmpfs left /mnt; setsid -f sleep 98781 </dev/null >/dev/null 2>&1";
    for round in 0..rounds {
        let name = format!("round-{round}");
        let more = ["--network", "nat", "--memory", "64M", "--pids-limit", "20", &name];
        machine.run(["ns", "create"].into_iter().chain(more)).exits(0);
        machine.run(["ns", "exec", &name, "sh", "-c", daemon]).exits(0);
        machine.run(["ns", "rm", &name]).exits(0);
    }
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let after = remains();
        if after == before {
            return;
        }
        assert!(Instant::now() < end, "after {rounds} rounds\n{after}\nbefore\n{before}");
    }
}
