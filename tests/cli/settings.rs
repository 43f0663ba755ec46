//! The config file and what comes before it.

use std::fs;

use crate::common::{Home, Ran, shown};

const INIT: [&str; 6] = ["machine", "init", "--disk-size", "1", "--image", "/dev/null"];

fn init<'a>(more: &[&'a str]) -> Vec<&'a str> {
    INIT.iter().chain(more).copied().collect()
}

#[test]
fn a_wrong_config_file_is_named_with_its_line() {
    let home = Home::new();
    let path = home.join("config/nsvm.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "[image]\npul = \"never\"\n").unwrap();
    let shown = path.display().to_string();
    home.run(["machine", "list"]).exits(125).complains(&[
        "Error: the config file",
        &shown,
        "line 2: unknown field `pul`",
        "Hint: Mend line 2",
    ]);

    let other = home.path().join("other.toml");
    let run = || {
        let mut command = home.nsvm(["machine", "list"]);
        command.env("NSVM_CONFIG", &other).output().unwrap()
    };
    let missing = String::from_utf8(run().stderr).unwrap();
    assert!(missing.contains("cannot read the config file") && missing.contains("other.toml"));
    fs::write(&other, "").unwrap();
    assert!(run().status.success(), "NSVM_CONFIG takes the place of the usual file");
}

#[test]
fn the_config_file_chooses_what_flags_leave_open() {
    let home = Home::new();
    let path = home.join("config/nsvm.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "[image]\ndefault = \"/dev/null\"\nsignature = \"require\"\n").unwrap();
    home.run(["machine", "init", "--disk-size", "1", "m1"]).exits(125).complains(&[
        "cannot trust \"/dev/null\"",
        "--signature require",
        "--signature auto",
    ]);
    home.run(["machine", "init", "--disk-size", "1", "--signature", "auto", "m1"]).exits(0);

    let shown = home.run(["machine", "inspect", "m1"]).exits(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout()).unwrap();
    let verified = &shown[0]["Image"]["Verified"];
    assert_eq!(verified["SHA256"], false);
    assert_eq!(verified["Signature"]["Good"], false);
    assert_eq!(verified["Signature"]["Reason"], "no signature is published for it");
}

#[test]
fn words_that_are_none_are_refused_with_those_that_are() {
    let home = Home::new();
    home.run(init(&["--signature", "maybe", "m1"]))
        .exits(125)
        .complains(&["maybe", "require, auto, off"]);
    home.run(init(&["--pull", "often", "m1"]))
        .exits(125)
        .complains(&["often", "never, missing, newer"]);
}

#[test]
fn layers_are_shown_with_where_they_come_from() {
    let home = Home::new();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("etc/nsvm.toml", "[machine]\nmemory = 512\ndisk_size = 7\n");
    write("etc/conf.d/50-site.toml", "[machine]\ndisk_size = 3\n");
    write("config/nsvm.toml", "[machine]\nimage = \"/dev/null\"\nuser = \"dev\"\n");
    let show = |args: &[&str]| {
        let mut command = home.nsvm(["config", "show"]);
        command.args(args).env("NSVM_MACHINE_CPUS", "1").env("NSVM_RUN_AUTO_START", "true");
        Ran(command.output().unwrap()).exits(0).stdout()
    };
    let plain: toml::Table = show(&[]).parse().unwrap();
    assert_eq!(plain["machine"]["disk_size"].as_integer(), Some(3));
    assert_eq!(plain["machine"]["memory"].as_integer(), Some(512));
    assert_eq!(plain["run"]["auto_start"].as_bool(), Some(true));
    let origins = show(&["--origin"]);
    for (key, origin) in [
        ("cpus", "NSVM_MACHINE_CPUS"),
        ("disk_size", "etc/conf.d/50-site.toml"),
        ("memory", "etc/nsvm.toml"),
        ("user", "config/nsvm.toml"),
        ("pull", "built in"),
    ] {
        let line = origins.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(line.replace('\\', "/").ends_with(origin), "{line}");
    }

    // What is shown is what a machine gets, unless a flag says otherwise.
    let mut init = home.nsvm(["machine", "init", "-q", "--memory", "300", "m1"]);
    Ran(init.env("NSVM_MACHINE_CPUS", "1").output().unwrap()).exits(0);
    let made = home.run(["machine", "inspect", "m1"]).exits(0).stdout();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let made = &made[0];
    assert_eq!(made["Resources"]["CPUs"], 1);
    assert_eq!(made["Resources"]["Memory"], 300);
    assert_eq!(made["Resources"]["DiskSize"], 3);
    assert_eq!(made["SSHConfig"]["RemoteUsername"], "dev");

    let mut wrong = home.nsvm(["machine", "list"]);
    let wrong = Ran(wrong.env("NSVM_MACHINE_MEMORY", "much").output().unwrap());
    wrong.exits(125).complains(&["NSVM_MACHINE_MEMORY is wrong", "Hint: "]);
}

/// The disk does not boot, so what is seen is that a start was tried.
#[test]
fn a_command_starts_a_stopped_machine_if_it_is_told_to() {
    let home = Home::new();
    home.run(init(&["-q", "--cpus", "1", "--memory", "256", "m1"])).exits(0);
    let command = |args: &[&str], auto_start: &str| {
        let mut command = home.nsvm(args.iter().copied());
        // A QEMU that is none: the start fails at once.
        command.env("NSVM_QEMU", "/dev/null").env("NSVM_RUN_AUTO_START", auto_start);
        Ran(command.output().unwrap()).exits(125)
    };
    let plain = ["--machine", "m1", "exec", "true"];
    command(&plain, "false").complains(&["machine \"m1\" is not running", "machine start m1"]);
    let told = ["--machine", "m1", "--start", "exec", "true"];
    for tried in [command(&told, "false"), command(&plain, "true")] {
        let said = tried.stderr();
        assert!(!said.contains("is not running") && said.contains(&shown("/dev/null")), "{said}");
    }
}
