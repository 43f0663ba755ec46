//! What dies on the host must not cost the user the VM.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::processes_with;
use crate::features::ENVIRONMENT;
use crate::link::by_ssh;
use crate::machine::{Machine, NAME};

pub fn kill_9(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// `kill -9` of `init` and of `start` in the middle, then the same again.
pub fn start_killed_and_repeated(machine: &Machine) {
    for delay in [5, 20, 60, 150] {
        let make = ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "1", "t2"];
        let mut init = machine.home.spawnable(make).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        let _ = init.kill();
        init.wait().unwrap();
        let again = machine.home.run(make);
        // Either the killed one had committed, or nothing of it is in the way.
        assert!(
            again.code() == 0 || again.stderr().contains("already exists"),
            "{}",
            again.stderr()
        );
        machine.home.run(["machine", "inspect", "t2"]).exits(0);
        machine.home.run(["machine", "rm", "-f", "t2"]).exits(0);
    }
    let mut start = machine.home.spawnable(["machine", "start", NAME]);
    let mut start = start.envs(ENVIRONMENT).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let uuid = machine.config()["Uuid"].as_str().unwrap().to_owned();
    while processes_with(&uuid).is_empty() {
        assert!(Instant::now() < end, "QEMU does not appear");
        std::thread::sleep(Duration::from_millis(20));
    }
    start.kill().unwrap();
    start.wait().unwrap();
    machine.start();
    assert_eq!(processes_with(&uuid).len(), 1, "one VM, not two");
}

pub fn supervisor(machine: &Machine) -> u32 {
    u32::try_from(machine.record()["SupervisorPid"].as_u64().unwrap()).unwrap()
}

/// The next command finds the VM again: same boot, same processes in it.
pub fn supervisor_killed(machine: &Machine) {
    let boot = machine.says(["cat", "/proc/sys/kernel/random/boot_id"]);
    let first = supervisor(machine);
    kill_9(first);
    assert_eq!(machine.inspect()["State"], "running");
    assert_eq!(machine.says(["cat", "/proc/sys/kernel/random/boot_id"]), boot);
    assert_ne!(supervisor(machine), first);
}

/// One that hangs is ended by the command that needs it; what runs in the guest
/// runs on.
pub fn supervisor_hung(machine: &Machine) {
    let boot = machine.says(["cat", "/proc/sys/kernel/random/boot_id"]);
    let first = supervisor(machine);
    let mut running = machine.home.spawnable(["--machine", NAME, "exec", "sh", "-c"]);
    running.arg("read word; echo $word; exit 9").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = running.spawn().unwrap();
    machine.says(["true"]);
    let pid = Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    assert_eq!(machine.says(["cat", "/proc/sys/kernel/random/boot_id"]), boot);
    assert_ne!(supervisor(machine), first);
    running.stdin.take().unwrap().write_all(b"there\n").unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(9), &b"there\n"[..]));
}

/// With another key in its place a link by SSH refuses, says so, and leaves the
/// VM alone.
pub fn other_host_key(machine: &Machine) {
    let good = machine.config();
    let boot = machine.says(["cat", "/proc/sys/kernel/random/boot_id"]);
    let key = good["Ssh"]["HostKey"].as_str().unwrap();
    let mut bad = good.clone();
    let (kind, blob) = key.split_once(' ').unwrap();
    // Another valid key: the last character of the base64 blob's body differs.
    let flip = |c: char| if c == 'A' { 'B' } else { 'A' };
    let at = blob.find(' ').unwrap_or(blob.len()) - 1;
    let changed: String =
        blob.chars().enumerate().map(|(i, c)| if i == at { flip(c) } else { c }).collect();
    bad["Ssh"]["HostKey"] = Value::String(format!("{kind} {changed}"));
    let write = |config: &Value| {
        std::fs::write(machine.config_path(), serde_json::to_vec(config).unwrap()).unwrap();
        kill_9(supervisor(machine));
    };
    by_ssh(machine, || {
        write(&bad);
        let refused = machine.run(["exec", "true"]).exits(125);
        refused.complains(&["SSH host key is not the one nsvm made"]);
        write(&good);
        machine.says(["true"]);
    });
    assert_eq!(machine.says(["cat", "/proc/sys/kernel/random/boot_id"]), boot);
}
