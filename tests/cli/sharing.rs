//! Volumes and published ports, as `init` and `set` are told: what is written,
//! what refused. The guest's side is told in tests/vm.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::Home;

const INIT: [&str; 11] = [
    "machine",
    "init",
    "-q",
    "--disk-size",
    "1",
    "--memory",
    "256",
    "--cpus",
    "1",
    "--image",
    "/dev/null",
];

fn init<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&INIT[..], rest, &["m1"]].concat()
}

fn inspected(home: &Home) -> Value {
    let shown = home.run(["machine", "inspect", "m1"]).exits(0).stdout();
    serde_json::from_str::<Value>(&shown).unwrap()[0].clone()
}

#[test]
fn volumes_and_ports_are_kept_and_changed_as_a_whole() {
    let home = Home::new();
    let dir = home.path().join("my dir");
    fs::create_dir(&dir).unwrap();
    let dir = dir.to_str().unwrap();
    let read_only = format!("{dir}:/mnt/the dir:ro");
    let more = format!("{dir}:/srv/x/");
    let volumes = ["-v", &read_only, "--volume", &more];
    let ports = ["-p", "8080:80", "--publish", "5432:5432", "--user-mode-networking"];
    home.run(init(&[volumes.as_slice(), &ports].concat())).exits(0);
    let shown = inspected(&home);
    let mount =
        |target: &str, ro| json!({ "Source": dir, "Target": target, "Type": "9p", "ReadOnly": ro });
    assert_eq!(shown["Mounts"], json!([mount("/mnt/the dir", true), mount("/srv/x", false)]));
    let port = |host: u16, guest: u16| json!({ "HostIP": "127.0.0.1", "HostPort": host, "GuestPort": guest, "Protocol": "tcp" });
    assert_eq!(shown["Ports"], json!([port(8080, 80), port(5432, 5432)]));

    let set = |args: &[&str]| {
        home.run(["machine", "set"].into_iter().chain(args.iter().copied()).chain(["m1"]))
    };
    set(&["-p", "8081:81"]).exits(0);
    let shown = inspected(&home);
    assert_eq!(shown["Ports"], json!([port(8081, 81)]));
    assert_eq!(shown["Mounts"].as_array().unwrap().len(), 2, "what is not named stays");
    // One bad word, and nothing of it all is done.
    set(&["-p", "8082:82", "-v", "/no/such/dir"]).exits(125).complains(&["\"/no/such/dir\""]);
    set(&["--timezone", "Mars/Phobos", "-p", "1:1"]).exits(125).complains(&["no time zone"]);
    assert_eq!(inspected(&home), shown);
    set(&["-v", "", "-p", ""]).exits(0);
    assert_eq!(inspected(&home)["Mounts"], json!([]));
    assert_eq!(inspected(&home)["Ports"], json!([]));
}

#[test]
fn what_cannot_be_shared_is_refused_with_its_name() {
    let home = Home::new();
    let dir = home.path().to_str().unwrap();
    for (spec, said) in [
        (format!("{dir}:/usr/bin"), "\"/usr/bin\" belongs to the guest's system"),
        (format!("{dir}:/"), "\"/\" belongs"),
        (format!("{dir}:relative"), "no absolute path"),
        (format!("{dir}:/mnt/x:virtiofs"), "virtiofs comes later"),
        (format!("{dir}:/home/core"), "would hide the user's keys"),
        ("/no/such:/mnt/x".to_owned(), "\"/no/such\" does not exist"),
        ("/dev/null:/mnt/x".to_owned(), "\"/dev/null\" is no directory"),
    ] {
        home.run(init(&["-v", &spec])).exits(125).complains(&["Error: ", said, "Hint: "]);
    }
    for (spec, said) in [
        ("80", "HOST:GUEST"),
        ("53:53/udp", "UDP comes later"),
        ("0.0.0.0:80:80", "127.0.0.1 alone"),
    ] {
        home.run(init(&["-p", spec])).exits(125).complains(&["Error: ", said, "Hint: "]);
    }
    let own = home.path().join("own.ign");
    fs::write(&own, "{}").unwrap();
    for nobody in [["--ignition-path", own.to_str().unwrap()], ["--provisioner", "none"]] {
        let volume = format!("{dir}:/mnt/x");
        home.run(init(&[&["-v", &volume][..], &nobody[..]].concat()))
            .exits(125)
            .complains(&["--volume needs something of nsvm in the guest"]);
    }
    home.run(["machine", "inspect", "m1"]).exits(125);
}

#[test]
fn a_port_that_is_taken_moves_and_a_volume_that_is_gone_is_named() {
    let home = Home::new();
    let dir = home.path().join("gone");
    fs::create_dir(&dir).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let publish = format!("{port}:80");
    home.run(init(&["-v", dir.to_str().unwrap(), "-p", &publish])).exits(0);
    fs::remove_dir(&dir).unwrap();
    home.run(["machine", "start", "m1"])
        .exits(125)
        .complains(&["gone\" is no directory", "machine set --volume"]);
    home.run(["machine", "set", "--volume", "", "m1"]).exits(0);
    let ssh = inspected(&home)["SSHConfig"]["Port"].as_u64().unwrap();
    let _taken_too = TcpListener::bind(("127.0.0.1", u16::try_from(ssh).unwrap())).unwrap();
    // It does not boot; the warnings come before that.
    home.run(["machine", "start", "--timeout", "3", "m1"]).exits(125).complains(&[
        &format!("port {port} cannot be had: the guest's port 80 is on port "),
        &format!("port {ssh} is taken: SSH is on port "),
    ]);
    assert_eq!(inspected(&home)["Ports"][0]["HostPort"], port, "of that run alone");

    // What quotes the port of SSH follows, from the start on.
    home.run(["machine", "start", "--no-wait", "m1"]).exits(0);
    let end = Instant::now() + Duration::from_secs(60);
    let moved = loop {
        let now = inspected(&home)["SSHConfig"]["Port"].as_u64().unwrap();
        if now != ssh {
            break now;
        }
        assert!(Instant::now() < end, "it is still on {ssh}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let entry = home.run(["machine", "ssh-config", "m1"]).exits(0).stdout();
    assert!(entry.contains(&format!("Port {moved}\n")), "{entry}");
    home.run(["machine", "stop", "--force", "m1"]).exits(0);
}

#[test]
fn copies_need_one_end_in_a_machine() {
    let home = Home::new();
    home.run(init(&[])).exits(0);
    home.run(["machine", "cp", "a", "b"]).exits(125).complains(&["neither", "NAME:PATH"]);
    home.run(["machine", "cp", "m1:a", "m1:b"]).exits(125).complains(&["both are in a machine"]);
    home.run(["machine", "cp", "a", "ghost:b"]).exits(125).complains(&["ghost: VM does not exist"]);
    home.run(["machine", "cp", "/no/such", "m1:b"]).exits(125).complains(&["\"/no/such\""]);
    home.run(["machine", "cp", "--quiet", "m1:a", "."])
        .exits(125)
        .complains(&["machine \"m1\" is not running"]);
}
