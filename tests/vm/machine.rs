//! The machine under test, and the stories about its own life.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;

use crate::common::{Home, INSPECT_KEYS, Ran, processes_with};
use crate::copies;
use crate::crashes::{kill_9, supervisor};
use crate::features::{self, By};
use crate::guest;

pub const NAME: &str = "t1";

/// A machine in a home of its own, removed when dropped.
pub struct Machine {
    pub home: Home,
    name: &'static str,
}

impl Machine {
    /// The one that most stories are told to, with every feature of init.
    pub fn init() -> Self {
        let home = Home::sharing_images();
        let options = features::options(&home, By::Ignition);
        Self::made(home, NAME, "debian-local", &options)
    }

    /// One without anything.
    pub fn plain() -> Self {
        Self::made(Home::sharing_images(), NAME, "debian-local", &[])
    }

    pub fn made(home: Home, name: &'static str, image: &str, options: &[String]) -> Self {
        let machine = Self { home, name };
        let init = ["machine", "init", "--image", image];
        let size = ["--cpus", "2", "--memory", "1024", "--disk-size", "12"];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        machine
            .home
            .run([&init[..], &size[..], &options[..], &[name][..]].concat())
            .exits(0)
            .prints("Machine init complete\n");
        machine
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs a story and says how long it took.
    /// `NSVM_TEST_STORIES`: parts of the names of those that are told, with
    /// commas between; the first start is one of them.
    pub fn tell(&self, what: &str, story: fn(&Self)) {
        let chosen = std::env::var("NSVM_TEST_STORIES").unwrap_or_default();
        if !chosen.split(',').any(|part| what.contains(part)) {
            return eprintln!("story: {what}: not told");
        }
        eprintln!("story: {what}");
        let begun = Instant::now();
        story(self);
        eprintln!("story: {what}: told in {:.1} s", begun.elapsed().as_secs_f32());
    }

    /// `nsvm --machine NAME ...`
    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ran {
        self.home.run(["--machine", self.name].into_iter().chain(args))
    }

    /// A command in the guest, its output trimmed.
    #[track_caller]
    pub fn says<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> String {
        let ran = self.run(["exec"].into_iter().chain(args)).exits(0);
        ran.stdout().trim().to_owned()
    }

    #[track_caller]
    pub fn inspect(&self) -> Value {
        let ran = self.home.run(["machine", "inspect", self.name]).exits(0);
        let all: Value = serde_json::from_str(&ran.stdout()).unwrap();
        all[0].clone()
    }

    pub fn record(&self) -> Value {
        self.record_if_any().expect("the machine runs")
    }

    /// Facts of the present run.
    pub fn record_if_any(&self) -> Option<Value> {
        let path = self.home.path().join(format!("state/run/{NAME}/run.json"));
        let runtime = self.control_socket();
        let beside = runtime.parent().unwrap().join("run.json");
        let path = if path.exists() { path } else { beside };
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    pub fn control_socket(&self) -> PathBuf {
        let inspected = self.inspect();
        inspected["ConnectionInfo"]["ControlSocket"]["Path"].as_str().unwrap().into()
    }

    pub fn config_path(&self) -> PathBuf {
        self.home.path().join(format!("config/machine/{}.json", self.name))
    }

    pub fn config(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.config_path()).unwrap()).unwrap()
    }

    /// With no proxy in this host's environment.
    pub fn start(&self) {
        self.start_saying(&[]);
    }

    /// With no proxy in this host's environment, and this on stderr. Typed in a
    /// directory that the guest shares, which is not where its playbook goes.
    pub fn start_saying(&self, texts: &[&str]) {
        let start = ["machine", "start", "--timeout", copies::PATIENCE];
        let mut start = self.home.nsvm([&start[..], &["--wait-for", "system", NAME]].concat());
        for name in features::PROXY_VARIABLES {
            start.env_remove(name);
        }
        let shared = self.home.path().join("shared dir");
        if shared.exists() {
            start.current_dir(shared);
        }
        Ran(start.output().unwrap())
            .exits(0)
            .prints(&format!("Machine \"{NAME}\" started successfully\n"))
            .complains(texts);
    }

    pub fn stop(&self) {
        self.home
            .run(["machine", "stop", NAME])
            .exits(0)
            .prints(&format!("Machine \"{NAME}\" stopped successfully\n"));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["--supervisor", "--serial"] {
                let text = self.home.run(["machine", "logs", log, self.name]).stdout();
                eprintln!("--- {log}\n{text}");
            }
        }
        let _ = self.home.nsvm(["machine", "rm", "-f", self.name]).output();
        for other in ["t2", "t3", copies::COPY] {
            let _ = self.home.nsvm(["machine", "rm", "-f", other]).output();
        }
    }
}

pub fn before_the_first_start(machine: &Machine) {
    let inspected = machine.inspect();
    assert_eq!(inspected["State"], "stopped");
    assert_eq!(inspected["LastUp"], "0001-01-01T00:00:00Z");
    let list = machine.home.run(["machine", "list", "--noheading"]).exits(0).stdout();
    assert!(list.contains("Never"), "{list}");
    machine
        .run(["exec", "true"])
        .exits(125)
        .complains(&["Error: machine \"t1\" is not running", "nsvm machine start"]);
}

pub fn running(machine: &Machine) {
    let inspected = machine.inspect();
    let keys: Vec<_> = inspected.as_object().unwrap().keys().map(String::as_str).collect();
    // serde_json sorts the keys of a value it read: only their set counts here.
    for key in INSPECT_KEYS {
        assert!(keys.contains(&key), "{key} is missing");
    }
    assert_eq!(inspected["State"], "running");
    assert_eq!(inspected["Agent"]["Ready"], true);
    assert_eq!(inspected["Resources"]["CPUs"], 2);
    assert_eq!(inspected["Resources"]["Memory"], 1024);
    assert_eq!(inspected["Resources"]["DiskSize"], 12);
    assert_ne!(inspected["LastUp"], "0001-01-01T00:00:00Z");
    let port = inspected["SSHConfig"]["Port"].as_u64().unwrap();
    assert!((1024..65536).contains(&port), "{port}");
    // Whatever accelerator works here, each better one has a reason.
    let accelerator = &inspected["Accelerator"];
    assert!(accelerator["InUse"].is_string(), "{accelerator}");
    if accelerator["InUse"] == "tcg" {
        let rejected = accelerator["Rejected"].as_array().unwrap();
        assert!(!rejected.is_empty(), "{accelerator}");
        assert!(rejected.iter().all(|r| !r["Reason"].as_str().unwrap().is_empty()));
    }
    let list = machine.home.run(["machine", "list", "--noheading"]).exits(0).stdout();
    assert!(list.contains("Currently running"), "{list}");
    machine
        .home
        .run(["machine", "start", NAME])
        .exits(125)
        .complains(&["Error: unable to start \"t1\": already running"]);
    machine
        .home
        .run(["machine", "rm", NAME])
        .exits(125)
        .complains(&["running vm \"t1\" cannot be destroyed"]);
}

pub fn stop_and_start(machine: &Machine) {
    machine.says(["sh", "-c", "echo kept >~/kept; sudo rm /usr/local/bin/ansible-playbook; sync"]);
    let before = machine.inspect();
    let boot = machine.says(["cat", "/proc/sys/kernel/random/boot_id"]);
    // By a supervisor that did not start it, and politely all the same.
    kill_9(supervisor(machine));
    machine.stop();
    machine.stop();
    let stopped = machine.inspect();
    assert_eq!(stopped["State"], "stopped");
    assert!(stopped["LastUp"].as_str() > before["LastUp"].as_str());
    let uuid = machine.config()["Uuid"].as_str().unwrap().to_owned();
    assert_eq!(processes_with(&uuid), Vec::<u32>::new());
    let set = ["machine", "set", "--cpus", "1", "--memory", "1280", "--disk-size", "14", NAME];
    machine.home.run(set).exits(0);
    let copy = copies::begin(machine);
    machine.start_saying(&["The disk has 14 GiB now, the file system of the guest's root 13."]);
    copies::end(machine, copy);
    assert_eq!(machine.says(["cat", "kept"]), "kept");
    guest::has(machine, 1, 1280, 14);
    let before = machine.config();
    let refused = machine.home.run(["machine", "set", "--cpus", "2", NAME]).exits(125);
    refused.complains(&["unable to change settings of \"t1\"", "nsvm machine stop t1"]);
    assert_eq!(machine.config(), before);
    // The host has no proxy any more.
    machine.run(["exec", "printenv", "HTTPS_PROXY"]).exits(1);
    assert!(!machine.says(["systemctl", "show-environment"]).contains("PROXY"));
    assert_ne!(machine.says(["cat", "/proc/sys/kernel/random/boot_id"]), boot);
    // The agent is there already: it came up by itself and was not uploaded.
    let log = machine.home.run(["machine", "logs", "--supervisor", NAME]).stdout();
    assert_eq!(log.matches("no agent answers yet").count(), 1, "{log}");
    // Both boots told by themselves that they were ready: nobody had to knock.
    assert_eq!(log.matches("the guest said that it is ready").count(), 2, "{log}");
}

/// A disk that does not boot, so that it costs nothing: what counts is that
/// neither disturbs the other.
pub fn a_second_machine(machine: &Machine) {
    let make = ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "1"];
    machine.home.run([&make[..], &["--memory", "256", "--cpus", "1", "t2"]].concat()).exits(0);
    let mut second = machine.home.spawnable(["machine", "start", "-q", "--timeout", "120", "t2"]);
    let mut second = second.stderr(std::process::Stdio::null()).spawn().unwrap();
    let end = Instant::now() + std::time::Duration::from_secs(60);
    let uuid = |name: &str| {
        let path = machine.home.path().join(format!("config/machine/{name}.json"));
        let config: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        config["Uuid"].as_str().unwrap().to_owned()
    };
    while processes_with(&uuid("t2")).is_empty() {
        assert!(Instant::now() < end, "the second QEMU does not appear");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let list = machine.home.run(["machine", "list"]).exits(0).stdout();
    assert!(list.contains("Currently running") && list.contains("Currently starting"), "{list}");
    assert_eq!(machine.says(["echo", "still here"]), "still here");
    machine.home.run(["machine", "stop", "t2"]).exits(0);
    assert!(!second.wait().unwrap().success(), "a start that was stopped did not succeed");
    assert_eq!(processes_with(&uuid("t2")), Vec::<u32>::new());
    assert_eq!(machine.says(["echo", "still here"]), "still here");
    machine.home.run(["machine", "rm", "-f", "t2"]).exits(0);
}

pub fn waiting(machine: &Machine) {
    let wait = |what: &str, timeout: &str| {
        machine.home.run(["machine", "wait", "--for", what, "--timeout", timeout, NAME])
    };
    wait("ssh", "60").exits(0).prints("");
    wait("agent", "60").exits(0).prints("");
    wait("system", "300").exits(0).prints("");
    let later = "systemd-run -q --on-active=1 --unit nsvm-later sleep 60";
    machine.says(["sudo", "sh", "-c", later]);
    wait("unit:nsvm-later.service", "300").exits(0);
    wait("unit:no-such.service", "1").exits(125).complains(&["no-such.service", "is inactive"]);
    machine.run(["exec", "sudo", "systemd-run", "-q", "--unit", "nsvm-bad", "false"]).exits(0);
    wait("unit:nsvm-bad.service", "300").exits(125).complains(&["has failed", "systemctl status"]);
    machine.says(["sudo", "systemctl", "stop", "nsvm-later.service"]);
    machine.says(["sudo", "systemctl", "reset-failed"]);
}

/// By `restart`, and by `os apply --restart` in a guest that pretends to boot from
/// an image as a whole. In between it becomes rootful: root is its default user then.
pub fn restarted(machine: &Machine) {
    let boot = || machine.says(["cat", "/proc/sys/kernel/random/boot_id"]);
    let another = |said: &str, args: &[&str]| {
        let before = boot();
        let ran = machine.home.run([&["machine"], args, &[NAME]].concat()).exits(0);
        assert_eq!(ran.stdout(), format!("{said}Machine \"{NAME}\" restarted successfully\n"));
        assert_ne!(boot(), before, "{args:?}");
    };
    another("", &["restart", "-q"]);
    machine.stop();
    machine.home.run(["machine", "set", "--rootful", NAME]).exits(0);
    machine.run(["--start", "exec", "id", "-un"]).exits(0).prints("root\n");
    machine.home.run(["machine", "ssh", NAME, "id -un"]).exits(0).prints("root\n");
    machine.run(["unshare", "--net", "id", "-u"]).exits(0).prints("0\n");
    machine.run(["exec", "--user-name", "core", "id", "-un"]).exits(0).prints("core\n");
    let pretend = "printf '#!/bin/sh\\necho \"bootc $*\"\\n' >/usr/local/bin/bootc
        chmod 755 /usr/local/bin/bootc; touch /run/ostree-booted";
    machine.says(["sudo", "sh", "-c", pretend]);
    another("bootc switch quay.io/a/b:1\n", &["os", "apply", "--restart", "quay.io/a/b:1"]);
}

pub fn removal(machine: &Machine) {
    let uuid = machine.config()["Uuid"].as_str().unwrap().to_owned();
    let socket = machine.control_socket();
    machine.home.run(["machine", "rm", "--force", NAME]).exits(0);
    assert_eq!(processes_with(&uuid), Vec::<u32>::new());
    let home = machine.home.path().to_string_lossy().into_owned();
    assert_eq!(processes_with(&home), Vec::<u32>::new());
    assert_eq!(machine.home.traces_of(NAME), Vec::<PathBuf>::new());
    assert!(!socket.parent().unwrap().exists(), "{}", socket.display());
    machine
        .home
        .run(["machine", "rm", "--force", NAME])
        .exits(125)
        .complains(&["t1: VM does not exist"]);
}
