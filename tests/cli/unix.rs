//! What only Unix has: modes of files, and signals.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Home, Ran, processes_with};
use crate::failures::init;

#[test]
fn keys_and_directories_admit_their_owner_alone() {
    let home = Home::new();
    home.run(init(&["--image", "/dev/null", "m1"])).exits(0);
    let mode =
        |path: &str| fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("data/m1"), 0o700);
    assert_eq!(mode("data/m1/id_ed25519"), 0o600);
    // It holds the guest's private host key.
    assert_eq!(mode("config/machine/m1.ign"), 0o600);
}

/// As `nsvm ... | head` has it, and a disk that is full.
#[test]
fn a_reader_that_has_gone_is_no_error_and_a_full_disk_is_one() {
    let home = Home::new();
    home.run(init(&["--image", "/dev/null", "m1"])).exits(0);
    let printing = [
        &["machine", "info"][..],
        &["machine", "list"],
        &["machine", "inspect", "m1"],
        &["machine", "list", "--format", "{{.Name}}"],
        &["machine", "events", "m1"],
        &["image", "search"],
        &["completion", "bash"],
        &["config", "show"],
    ];
    for words in printing {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut ran = home.spawnable(words.iter().copied());
        let ran = ran.stdout(writer).stderr(Stdio::piped()).spawn();
        let ran = Ran(ran.unwrap().wait_with_output().unwrap());
        assert_eq!((ran.code(), ran.stderr()), (141, String::new()), "{words:?}");
    }
    #[cfg(target_os = "linux")]
    for words in printing {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut ran = home.spawnable(words.iter().copied());
        let ran = ran.stdout(full).stderr(Stdio::piped()).spawn();
        let ran = Ran(ran.unwrap().wait_with_output().unwrap()).exits(125);
        ran.complains(&["Error: writing to standard output: No space left on device"]);
    }
}

#[test]
fn ctrl_c_undoes_a_start() {
    let home = Home::new();
    home.run(init(&["--memory", "256", "--cpus", "1", "--image", "/dev/null", "m1"])).exits(0);
    let start = home
        .spawnable(["machine", "start", "--timeout", "300", "m1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let config = fs::read(home.path().join("config/machine/m1.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let uuid = config["Uuid"].as_str().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while processes_with(uuid).is_empty() {
        assert!(Instant::now() < end, "QEMU does not appear");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&start);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    Ran(start.wait_with_output().unwrap()).exits(125).complains(&["the start was interrupted"]);
    assert_eq!(processes_with(uuid), Vec::<u32>::new());
    assert!(!home.path().join("state/run/m1").exists(), "sockets of the run are left");
    home.run(["machine", "rm", "-f", "m1"]).exits(0);
}
