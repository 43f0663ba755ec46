//! `machine logs`: what the console and the supervisor have said, and what comes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::common::Home;
use crate::failures::init;

#[test]
fn a_log_is_shown_and_followed_until_the_machine_is_removed() {
    let home = Home::new();
    home.run(init(&["--image", "/dev/null", "m1"])).exits(0);
    home.run(["machine", "logs", "m1"]).exits(0).prints("");
    let dir = home.path().join("state/machine/m1");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("supervisor.log"), "supervised\n").unwrap();
    let serial = dir.join("serial.log");
    fs::write(&serial, "the first boot\n").unwrap();
    home.run(["machine", "logs", "--supervisor", "m1"]).exits(0).prints("supervised\n");
    for serial in [&["m1"][..], &["--serial", "m1"]] {
        home.run([&["machine", "logs"], serial].concat()).exits(0).prints("the first boot\n");
    }

    let mut following = home.spawnable(["machine", "logs", "--follow", "m1"]);
    let mut following = following.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert_eq!(next(), "the first boot");
    fs::File::options().append(true).open(&serial).unwrap().write_all(b"ends\n").unwrap();
    assert_eq!(next(), "ends");
    // The next start begins a new log.
    fs::write(&serial, "the second\n").unwrap();
    assert_eq!(next(), "the second");
    home.run(["machine", "rm", "-f", "m1"]).exits(0);
    assert!(following.wait().unwrap().success());
}
