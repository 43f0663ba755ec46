//! Snapshots of a machine that does not run; with a guest: `tests/vm/snapshots.rs`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::Home;

/// A machine that looks as if it had been up.
fn made() -> Home {
    let home = Home::new();
    let args = ["machine", "init", "-q", "--disk-size", "1", "--memory", "256", "--cpus", "1"];
    home.run(args.into_iter().chain(["--image", "/dev/null", "m1"])).exits(0);
    as_if_it_had_been_up(&home);
    home
}

pub fn as_if_it_had_been_up(home: &Home) {
    let history = home.path().join("data/m1/history.json");
    let mut dates: Value = serde_json::from_slice(&fs::read(&history).unwrap()).unwrap();
    dates["LastUp"] = dates["Created"].clone();
    fs::write(&history, dates.to_string()).unwrap();
}

fn snapshot<'a>(home: &Home, args: impl IntoIterator<Item = &'a str>) -> crate::common::Ran {
    home.run(["machine", "snapshot"].into_iter().chain(args))
}

/// Name, parent, and whether the present came after it.
fn tree(home: &Home) -> Vec<(String, String, bool)> {
    let text = snapshot(home, ["list", "m1", "--format", "json"]).exits(0).stdout();
    let listed = crate::common::json::valid("snapshot-list.schema.json", &text);
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let all = listed.as_array().unwrap().iter();
    all.map(|one| (word(&one["Name"]), word(&one["Parent"]), one["Current"] == true)).collect()
}

fn one(name: &str, parent: &str, current: bool) -> (String, String, bool) {
    (name.into(), parent.into(), current)
}

fn disk(home: &Home) -> PathBuf {
    home.path().join("data/m1/disk.qcow2")
}

/// Writes a byte to the whole of a cluster; false (visibly) without qemu-io.
fn write(home: &Home, at: u32, byte: u32) -> bool {
    let io = format!("write -q -P {byte} {} 64k", at * 65536);
    match Command::new("qemu-io").args(["-f", "qcow2", "-c", &io]).arg(disk(home)).status() {
        Ok(status) => {
            assert!(status.success());
            true
        }
        Err(_) => {
            eprintln!("skipped: qemu-io is not installed");
            false
        }
    }
}

#[track_caller]
fn has(home: &Home, at: u32, byte: u32) {
    let io = format!("read -q -P {byte} {} 64k", at * 65536);
    let mut read = Command::new("qemu-io");
    let said = read.args(["-r", "-f", "qcow2", "-c", &io]).arg(disk(home)).output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && !text.contains("failed"), "{text}");
}

fn layers(home: &Home) -> usize {
    let files = fs::read_dir(home.path().join("data/m1")).unwrap().flatten();
    files.filter(|file| file.file_name().to_string_lossy().starts_with("layer-")).count()
}

#[test]
fn what_cannot_be_is_refused() {
    let home = Home::new();
    snapshot(&home, ["create", "m1", "a"]).exits(125).complains(&["m1: VM does not exist"]);
    snapshot(&home, ["list", "m1"]).exits(125).complains(&["m1: VM does not exist"]);
    let args = ["machine", "init", "-q", "--disk-size", "1", "--memory", "256", "--cpus", "1"];
    home.run(args.into_iter().chain(["--image", "/dev/null", "m1"])).exits(0);
    snapshot(&home, ["create", "m1", "a"]).exits(125).complains(&["was never started"]);
    let home = made();
    snapshot(&home, ["create", "m1", "no/name"]).exits(125).complains(&["invalid name"]);
    snapshot(&home, ["create", "m1", "a"]).exits(0);
    snapshot(&home, ["create", "m1", "a"])
        .exits(125)
        .complains(&["has a snapshot \"a\" already", "snapshot rm m1 a"]);
    for verb in [&["rm", "-f"][..], &["restore", "--discard"]] {
        let refused = snapshot(&home, verb.iter().copied().chain(["m1", "b"])).exits(125);
        refused.complains(&["machine \"m1\" has no snapshot \"b\"", "snapshot list m1"]);
    }
    // Neither is done unasked.
    snapshot(&home, ["restore", "m1", "a"]).exits(125).complains(&["--keep or --discard"]);
    snapshot(&home, ["rm", "m1", "a"]).exits(125).complains(&["will be deleted", "nobody"]);
    snapshot(&home, ["restore", "--keep", "--discard", "m1", "a"]).exits(125);
    assert_eq!(tree(&home), [one("a", "", true)]);
}

#[test]
fn states_are_kept_found_again_and_removed() {
    let home = made();
    if !write(&home, 0, 1) {
        return;
    }
    snapshot(&home, ["create", "m1", "a"])
        .exits(0)
        .prints("Snapshot \"a\" of machine \"m1\" created successfully\n");
    write(&home, 0, 2);
    write(&home, 1, 2);
    snapshot(&home, ["create", "m1", "b"]).exits(0);
    write(&home, 0, 3);
    assert_eq!(tree(&home), [one("a", "", false), one("b", "a", true)]);
    // The present is kept as a branch of its own.
    snapshot(&home, ["restore", "--keep=c", "m1", "a"])
        .exits(0)
        .prints("Machine \"m1\" is at snapshot \"a\"\n");
    has(&home, 0, 1);
    write(&home, 5, 9);
    assert_eq!(tree(&home), [one("a", "", true), one("b", "a", false), one("c", "b", false)]);
    let table = snapshot(&home, ["list", "m1"]).exits(0).stdout();
    assert!(table.contains("\na*") && table.contains("\n  b ") && table.contains("\n    c"));
    snapshot(&home, ["restore", "--yes", "m1", "c"]).exits(0).complains(&["is the snapshot"]);
    has(&home, 0, 3);
    has(&home, 1, 2);
    has(&home, 5, 0);
    let kept = tree(&home).into_iter().find(|one| one.0.starts_with("before-")).unwrap();
    assert_eq!(kept.1, "a");
    home.run(["machine", "doctor", "m1"]).exits(0);
    let shown = home.run(["machine", "inspect", "--format", "{{len .Snapshots}}", "m1"]).exits(0);
    shown.prints("4\n");

    // One in the middle goes, and what came of it is whole; the space is given
    // back once nothing else needs it.
    assert_eq!(layers(&home), 4);
    snapshot(&home, ["rm", "-f", "m1", "b"]).exits(0);
    assert_eq!(layers(&home), 3, "b is part of c");
    snapshot(&home, ["rm", "-f", "m1", "a"]).exits(0);
    assert_eq!(layers(&home), 3, "two need it");
    snapshot(&home, ["rm", "-f", "m1", &kept.0]).exits(0);
    assert_eq!(layers(&home), 1, "a is part of c");
    assert_eq!(tree(&home), [one("c", "", true)]);
    snapshot(&home, ["restore", "--discard", "m1", "c"]).exits(0);
    has(&home, 0, 3);
    snapshot(&home, ["rm", "-f", "m1", "c"]).exits(0);
    assert_eq!((tree(&home), layers(&home)), (vec![], 0));
    has(&home, 0, 3);
    has(&home, 1, 2);
}

#[test]
fn a_chain_goes_wherever_its_machine_goes() {
    let home = made();
    if !write(&home, 0, 1) {
        return;
    }
    for name in ["a", "b"] {
        snapshot(&home, ["create", "m1", name]).exits(0);
        write(&home, 1, 2);
    }
    home.run(["machine", "clone", "m1", "m2"]).exits(0);
    let list = |name: &str| snapshot(&home, ["list", name, "--quiet"]).exits(0).stdout();
    assert_eq!((list("m1").lines().count(), list("m2")), (2, String::new()));
    home.run(["machine", "doctor", "m2"]).exits(0);
    let file = home.path().join("m1.nsvm");
    home.run(["machine", "export", "m1", file.to_str().unwrap()]).exits(0);
    home.run(["machine", "rename", "m1", "m3"]).exits(0);
    assert_eq!(list("m3").lines().count(), 2);
    home.run(["machine", "rename", "m3", "m4"]).exits(0);
    home.run(["machine", "import", "-q", file.to_str().unwrap()]).exits(0);
    has(&home, 0, 1);
    has(&home, 1, 2);
    assert_eq!((list("m1"), layers(&home)), (String::new(), 2));
    home.run(["machine", "doctor", "m1"]).exits(0);
    // Removing one machine does not hurt those that share its layers.
    home.run(["machine", "rm", "-f", "m4"]).exits(0);
    fs::rename(home.path().join("data/m2/disk.qcow2"), home.path().join("data/m2/d")).unwrap();
    fs::copy(home.path().join("data/m2/d"), home.path().join("data/m2/disk.qcow2")).unwrap();
    home.run(["machine", "doctor", "m2"]).exits(0);
    // A disk that is saved keeps its layers.
    let saved = home.run(["machine", "rm", "-f", "--save-image", "m1"]).exits(0).stderr();
    let path = saved.trim().strip_prefix("Saved \"").unwrap().strip_suffix('"').unwrap();
    let dir = PathBuf::from(path).parent().unwrap().to_owned();
    assert_eq!(fs::read_dir(dir).unwrap().count(), 3);
}

#[test]
fn a_layer_that_is_gone_is_named() {
    let home = made();
    snapshot(&home, ["create", "m1", "a"]).exits(0);
    fs::remove_file(home.path().join("data/m1/layer-1.qcow2")).unwrap();
    let found = home.run(["machine", "doctor", "m1"]);
    assert!(found.stdout().contains("layer-1.qcow2"), "{}", found.stdout());
    home.run(["machine", "start", "m1"]).exits(125).complains(&["layer-1.qcow2"]);
    home.run(["machine", "rm", "-f", "m1"]).exits(0);
}

/// What is left when a command is killed at any moment is the one state or the
/// other, and the next command works.
#[cfg(unix)]
#[test]
fn a_kill_leaves_what_was_or_what_shall_be() {
    let home = made();
    if !write(&home, 0, 1) {
        return;
    }
    let all = std::env::var_os("NSVM_TEST_ALL").is_some();
    let rounds: u32 = if all { 60 } else { 12 };
    for round in 0..rounds {
        let name = format!("s{round}");
        let verb: &[&str] = match round % 3 {
            0 => &["create", "m1", &name],
            1 => &["restore", "--discard", "m1", "old"],
            _ => &["rm", "-f", "m1", "old"],
        };
        if !tree(&home).iter().any(|one| one.0 == "old") {
            snapshot(&home, ["create", "m1", "old"]).exits(0);
        }
        let mut child =
            home.spawnable(["machine", "snapshot"].into_iter().chain(verb.iter().copied()));
        let mut child = child
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // A command takes some 10 to 30 ms.
        std::thread::sleep(std::time::Duration::from_micros(u64::from(round) * 1_700 % 29_000));
        child.kill().unwrap();
        child.wait().unwrap();
        has(&home, 0, 1);
        home.run(["machine", "doctor", "m1"]).exits(0);
        snapshot(&home, ["create", "m1", "probe"]).exits(0);
        snapshot(&home, ["rm", "-f", "m1", "probe"]).exits(0);
        has(&home, 0, 1);
    }
    for (name, _, _) in tree(&home) {
        snapshot(&home, ["rm", "-f", "m1", &name]).exits(0);
    }
    has(&home, 0, 1);
    let dir = home.path().join("data/m1");
    let left = fs::read_dir(dir).unwrap().flatten().map(|file| file.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("layer")).collect();
    assert_eq!(left, Vec::<std::ffi::OsString>::new());
}

/// A guest's memory belongs to one disk; a snapshot of it to the same, and it is
/// the machine's again when that is restored.
#[test]
fn a_memory_goes_with_its_disk() {
    let home = made();
    let data = home.path().join("data/m1");
    let generation = |home: &Home| {
        let found = fs::metadata(disk(home)).unwrap();
        let modified = found.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        json!({ "Runs": 0, "Length": found.len(), "Modified": u64::try_from(modified.as_nanos()).unwrap() })
    };
    let header = json!({
        "Version": 1, "At": "2026-11-29T00:00:00Z", "BootID": "b",
        "Hardware": { "QemuVersion": "1", "QemuBuild": "1", "Accelerator": "tcg",
            "CpuModel": "max", "Machine": "q35", "CPUs": 1, "Memory": 256, "ArgvSHA256": "0" },
        "Disk": generation(&home), "Memory": { "Length": 6 },
    });
    fs::write(data.join("suspended.ram"), b"memory").unwrap();
    fs::write(data.join("suspended.json"), header.to_string()).unwrap();
    let read = || -> Value {
        serde_json::from_slice(&fs::read(data.join("suspended.json")).unwrap()).unwrap()
    };
    snapshot(&home, ["create", "m1", "a"]).exits(0);
    // Still suspended, on the new disk.
    assert_eq!(read()["Disk"], generation(&home));
    assert_eq!(read()["NextDisk"], Value::Null);
    home.run(["machine", "stop", "--force", "m1"]).exits(0);
    assert!(!data.join("suspended.ram").exists());
    snapshot(&home, ["restore", "--discard", "m1", "a"])
        .exits(0)
        .complains(&["nsvm machine start m1"]);
    assert_eq!(read()["Disk"], generation(&home));
    assert_eq!(fs::read(data.join("suspended.ram")).unwrap(), b"memory");
    let state = home.run(["machine", "inspect", "--format", "{{.State}}", "m1"]).exits(0);
    state.prints("suspended\n");
    snapshot(&home, ["rm", "-f", "m1", "a"]).exits(0);
    // The memory that the machine has now is its own; so is the disk it fits.
    assert_eq!(read()["Disk"], generation(&home));
    assert_eq!(fs::read(data.join("suspended.ram")).unwrap(), b"memory");
}
