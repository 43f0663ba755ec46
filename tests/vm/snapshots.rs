//! Snapshots of a machine that runs: it goes on, and goes back to where it was.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::copies::COPY;
use crate::machine::{Machine, NAME};

fn snapshot<'a>(machine: &Machine, args: impl IntoIterator<Item = &'a str>) -> crate::common::Ran {
    machine.home.run(["machine", "snapshot"].into_iter().chain(args)).exits(0)
}

fn boot_id(machine: &Machine) -> String {
    machine.says(["cat", "/proc/sys/kernel/random/boot_id"])
}

fn set(machine: &Machine, word: &str) {
    machine.says(["sh", "-c", "echo \"$0\" >~/word; echo \"$0\" | sudo tee /run/word", word]);
}

/// On its disk and in its memory.
fn words(machine: &Machine) -> String {
    machine.says(["sh", "-c", "cat ~/word /run/word | xargs"])
}

pub fn story(machine: &Machine) {
    let boot = boot_id(machine);
    set(machine, "one");
    let mut attached = machine.home.spawnable(["--machine", NAME, "exec", "cat"]);
    let mut attached =
        attached.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("nsvm starts");
    let mut stdin = attached.stdin.take().unwrap();
    let mut stdout = BufReader::new(attached.stdout.take().unwrap());
    let mut echo = |text: &str| {
        writeln!(stdin, "{text}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), text);
    };
    echo("before");
    snapshot(machine, ["create", NAME, "first"]);
    assert_eq!(machine.inspect()["State"], "running");
    echo("after");
    drop(stdin);
    assert!(attached.wait().unwrap().success());
    assert_eq!(boot_id(machine), boot);

    set(machine, "two");
    let random = machine.says(["cat", "/proc/sys/kernel/random/uuid"]);
    snapshot(machine, ["restore", "--keep=second", NAME, "first"])
        .prints(&format!("Machine \"{NAME}\" is at snapshot \"first\"\n"));
    assert_eq!((words(machine), boot_id(machine)), ("one one".into(), boot.clone()));
    assert_ne!(machine.says(["cat", "/proc/sys/kernel/random/uuid"]), random);
    set(machine, "lost");
    snapshot(machine, ["restore", "--discard", NAME, "second"]);
    assert_eq!((words(machine), boot_id(machine)), ("two two".into(), boot.clone()));
    let list = snapshot(machine, ["list", NAME]).stdout();
    assert!(list.contains("\nfirst ") && list.contains("\n  second* "), "{list}");

    // One that is stopped is suspended by what was in memory, and goes on there.
    machine.stop();
    snapshot(machine, ["restore", "--discard", NAME, "first"]);
    assert_eq!(machine.inspect()["State"], "suspended");
    machine.home.run(["machine", "start", NAME]).exits(0);
    assert_eq!((words(machine), boot_id(machine)), ("one one".into(), boot.clone()));

    // A copy of one that runs: the disk alone, and what runs goes on.
    machine.home.run(["machine", "clone", NAME, COPY]).exits(0);
    assert_eq!(boot_id(machine), boot);
    if std::env::var_os("NSVM_TEST_ALL").is_some() {
        machine.home.run(["machine", "start", "-q", COPY]).exits(0);
        let said = machine.home.run(["--machine", COPY, "exec", "cat", "word"]).exits(0);
        said.prints("one\n");
    }
    machine.home.run(["machine", "rm", "-f", COPY]).exits(0);

    // Their space is given back, and the present stays.
    snapshot(machine, ["rm", "-f", NAME, "second"]);
    machine.says(["sh", "-c", "echo three >~/word; sync"]);
    machine.stop();
    snapshot(machine, ["rm", "-f", NAME, "first"]);
    let files = std::fs::read_dir(machine.home.path().join(format!("data/{NAME}"))).unwrap();
    let files: Vec<String> =
        files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
    let left = files.iter().any(|name| name.starts_with("layer-") || name.contains(".ram"));
    assert!(!left, "{files:?}");
    machine.home.run(["machine", "start", "-q", NAME]).exits(0);
    assert_eq!(machine.says(["cat", "word"]), "three");
}
