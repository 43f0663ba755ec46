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
