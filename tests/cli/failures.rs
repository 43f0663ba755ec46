//! Each thing that goes wrong for users: one clear error with a way out, in
//! bounded time, nothing left behind.

use std::fs;

use crate::common::{Home, Ran, shown};

const INIT: [&str; 5] = ["machine", "init", "-q", "--disk-size", "1"];

pub fn init<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&INIT[..], rest].concat()
}

/// No machine and no half of one.
#[track_caller]
fn nothing_of(home: &Home, name: &str) {
    assert_eq!(home.traces_of(name), Vec::<std::path::PathBuf>::new());
}

#[test]
fn resources_beyond_the_host_are_refused() {
    let home = Home::new();
    for (args, wanted) in [
        (["--cpus", "10000"], "10000 CPUs"),
        (["--memory", "900000000"], "900000000 MiB"),
        (["--memory", "1"], "1 MiB"),
        (["--disk-size", "20000"], "20000 GiB"),
    ] {
        let all = ["machine", "init", "--image", "/dev/null", args[0], args[1], "m1"];
        home.run(all).exits(125).complains(&["Error: ", wanted, "Hint: "]);
    }
    nothing_of(&home, "m1");
}

/// The overlay is sparse: what does not fit now only warns, what never can is refused.
#[test]
fn a_disk_is_measured_against_its_image_and_its_file_system() {
    let home = Home::new();
    let image = home.path().join("large.qcow2");
    fs::write(&image, empty_disk(3 << 30)).unwrap();
    let image = image.to_str().unwrap();
    home.run(init(&["--image", image, "--disk-size", "2", "m1"])).exits(125).complains(&[
        "Error: ",
        "2 GiB",
        "Hint: ",
        "--disk-size 3",
    ]);
    nothing_of(&home, "m1");
    let (free, total) = nsvm::host::disk_space(home.path()).unwrap();
    let more = (free >> 30) + 2;
    if more < total >> 30 {
        home.run(init(&["--image", "/dev/null", "--disk-size", &more.to_string(), "m1"]))
            .exits(0)
            .complains(&["may grow to", "are free now"]);
        home.run(["machine", "rm", "-f", "m1"]).exits(0);
    }
    let Some(small) = SmallDisk::new(&home) else {
        eprintln!("skipped: mounting a tmpfs needs root");
        return;
    };
    let mut command = home.nsvm(init(&["--image", "/dev/null", "m1"]));
    command.env("NSVM_HOME", small.path()).env("NSVM_IMAGE_CACHE", home.path().join("cache"));
    Ran(command.output().unwrap())
        .exits(125)
        .complains(&["a disk of 1 GiB can never fit", "Hint: "]);
}

#[test]
fn an_existing_name_is_refused() {
    let home = Home::new();
    home.run(init(&["--image", "/dev/null", "m1"])).exits(0);
    home.run(init(&["--image", "/dev/null", "m1"]))
        .exits(125)
        .complains(&["Error: machine \"m1\" already exists"]);
}

#[test]
fn images_that_are_none_are_refused() {
    let home = Home::new();
    let cache = home.path().join("cache");
    let disk = home.path().join("disk.qcow2");
    // The first half of a real qcow2 header and nothing behind it.
    fs::write(&disk, b"QFI\xfb\0\0\0\x03\0\0\0\0\0\0\0\0").unwrap();
    let path = disk.to_str().unwrap();
    let run = |rest: &[&str]| {
        let mut command = home.nsvm(init(rest));
        command.env("NSVM_IMAGE_CACHE", &cache);
        Ran(command.output().unwrap())
    };
    run(&["--image", path, "m1"]).exits(125).complains(&["Error: ", "disk.qcow2", "Hint: "]);
    run(&["--image", "/no/such/disk", "m1"]).exits(125).complains(&[&shown("/no/such/disk")]);
    run(&["--image", "no-such-name", "m1"]).exits(125).complains(&["no-such-name", "debian-local"]);
    run(&["--image", "https://127.0.0.1:1/x.qcow2", "m1"]).exits(125).complains(&["--sha256"]);
    let raw = home.path().join("disk.raw");
    fs::write(&raw, [7; 4096]).unwrap();
    let wrong = "0".repeat(64);
    run(&["--image", raw.to_str().unwrap(), "--sha256", &wrong, "m1"])
        .exits(125)
        .complains(&["Error: ", "disk.raw", &wrong]);
    nothing_of(&home, "m1");
    let bases = fs::read_dir(&cache).unwrap().flatten().filter(|entry| entry.path().is_file());
    assert_eq!(bases.count(), 0, "nothing unverified gets a name");
}

#[test]
fn own_ignition_is_kept_byte_for_byte_and_a_missing_one_leaves_nothing() {
    let home = Home::new();
    home.run(init(&["--image", "/dev/null", "--ignition-path", "/no/such.ign", "m1"]))
        .exits(125)
        .complains(&["/no/such.ign"]);
    nothing_of(&home, "m1");
    let own = home.path().join("own file.ign");
    fs::write(&own, b"{ \"ignition\":\t{\"version\": \"3.3.0\"} }\n\n").unwrap();
    home.run(init(&["--image", "/dev/null", "--ignition-path", own.to_str().unwrap(), "m1"]))
        .exits(0);
    let stored = home.path().join("config/machine/m1.ign");
    assert_eq!(fs::read(stored).unwrap(), fs::read(own).unwrap());
}

#[test]
fn no_qemu_is_said_with_the_way_to_get_one() {
    let home = Home::new();
    home.run(init(&["--image", "/dev/null", "m1"])).exits(0);
    let mut start = home.nsvm(["machine", "start", "m1"]);
    start.env("PATH", "/nonexistent");
    Ran(start.output().unwrap()).exits(125).complains(&["Error: ", "QEMU", "Hint: "]);
    home.run(["machine", "list", "--format", "json"]).exits(0);
    let mut start = home.nsvm(["machine", "start", "m1"]);
    start.env("NSVM_QEMU", "/no/such/qemu");
    Ran(start.output().unwrap()).exits(125).complains(&[&shown("/no/such/qemu")]);
}

#[test]
fn a_home_that_cannot_be_written_is_named() {
    let home = Home::new();
    // Not by mode: root may write everywhere. Nobody can make a directory
    // below a file.
    let file = home.path().join("file");
    fs::write(&file, b"").unwrap();
    let inside = file.join("home");
    let mut command = home.nsvm(init(&["--image", "/dev/null", "m1"]));
    command.env("NSVM_HOME", &inside);
    Ran(command.output().unwrap()).exits(125).complains(&["Error: ", inside.to_str().unwrap()]);
}

#[test]
fn init_with_now_starts_what_it_has_made() {
    let home = Home::new();
    let mut command = home.nsvm(init(&["--image", "/dev/null", "--now", "m1"]));
    // A QEMU that is none: the start fails at once, and the machine stays.
    Ran(command.env("NSVM_QEMU", "/dev/null").output().unwrap())
        .exits(125)
        .prints("Machine init complete\n")
        .complains(&["Error: ", &shown("/dev/null")]);
    home.run(["machine", "list", "-q"]).exits(0).prints("m1\n");
}

#[test]
fn a_disk_that_does_not_boot_fails_within_its_timeout_with_the_console() {
    let home = Home::new();
    home.run(init(&["--memory", "256", "--cpus", "1", "--image", "/dev/null", "m1"])).exits(0);
    let begun = std::time::Instant::now();
    home.run(["machine", "start", "--timeout", "6", "m1"]).exits(125).complains(&[
        "unable to start \"m1\"",
        "check 2 of 3",
        "No bootable device",
        "Hint: ",
    ]);
    // Probing, timeout, roll back: far from the test's own deadline.
    assert!(begun.elapsed().as_secs() < 120, "{:?}", begun.elapsed());
    home.run(["machine", "stop", "m1"]).exits(0).prints("Machine \"m1\" stopped successfully\n");
    let state = home.run(["machine", "inspect", "m1"]).exits(0).stdout();
    assert!(state.contains("\"State\": \"stopped\""), "{state}");
    assert!(!home.path().join("state/run/m1").exists(), "sockets of the run are left");
    home.run(["machine", "rm", "-f", "m1"]).exits(0);
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    // The smallest file system there is: /dev/full answers every write so.
    let home = Home::new();
    let disk = home.path().join("disk.raw");
    fs::write(&disk, vec![1; 8 << 20]).unwrap();
    let Some(small) = SmallDisk::new(&home) else {
        eprintln!("skipped: mounting a tmpfs needs root");
        return;
    };
    let mut command = home.nsvm(init(&["--image", disk.to_str().unwrap(), "m1"]));
    command.env("NSVM_IMAGE_CACHE", small.path());
    Ran(command.output().unwrap()).exits(125).complains(&["Error: ", "space"]);
    nothing_of(&home, "m1");
    let left: Vec<_> = fs::read_dir(small.path()).unwrap().flatten().map(|e| e.path()).collect();
    assert!(left.iter().all(|path| path.is_dir()), "{left:?}");
}

/// A qcow2 of so many bytes without data (docs/interop/qcow2.txt in QEMU's tree):
/// header, refcount table, refcount block, L1 table.
fn empty_disk(size: u64) -> Vec<u8> {
    const CLUSTER: usize = 1 << 16;
    let mut disk = vec![0; 4 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| disk[at..at + bytes.len()].copy_from_slice(bytes);
    let at = |cluster: usize| (cluster * CLUSTER).to_be_bytes();
    put(0, b"QFI\xfb\0\0\0\x02");
    put(20, &16_u32.to_be_bytes());
    put(24, &size.to_be_bytes());
    // One L1 entry for each 512 MiB.
    put(36, &u32::try_from(size.div_ceil(1 << 29)).unwrap().to_be_bytes());
    put(40, &at(3));
    put(48, &at(1));
    put(56, &1_u32.to_be_bytes());
    put(CLUSTER, &at(2));
    for used in 0..4 {
        put(2 * CLUSTER + 2 * used, &1_u16.to_be_bytes());
    }
    disk
}

/// A tmpfs of 2 MiB.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn new(home: &Home) -> Option<Self> {
        let dir = home.path().join("small");
        fs::create_dir(&dir).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "none"])
            .arg(&dir)
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(dir))
    }

    fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}
