//! Named namespaces outlive agent, supervisor and host commands; after a
//! reboot they are gone, and told so.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crashes::{kill_9, supervisor};
use crate::machine::Machine;

const SEEN: [&str; 4] = ["sh", "-c", "id -u; hostname; readlink /proc/self/ns/net", "--"];

fn inside(machine: &Machine) -> String {
    let ran = machine.run(["ns", "exec", "web", "--"].into_iter().chain(SEEN)).exits(0);
    ran.stdout()
}

fn agent_pid(machine: &Machine) -> String {
    let show = ["exec", "systemctl", "show", "-p", "MainPID", "--value", "nsvm-agent"];
    machine.run(show).stdout()
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
    while [before.as_str(), "", "0\n"].contains(&agent_pid(machine).as_str()) {
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
