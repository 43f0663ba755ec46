//! The program without a VM: what it says and refuses, and what it leaves.

#[path = "../common/mod.rs"]
mod common;

mod archives;
mod changes;
mod connections;
mod failures;
mod formats;
#[cfg(target_os = "linux")]
mod full_disk;
mod health;
mod images;
mod keeping;
#[cfg(target_os = "linux")]
mod killed;
#[cfg(target_os = "linux")]
mod local;
mod logs;
mod older;
mod provisioning;
#[cfg(target_os = "linux")]
mod rootfs;
mod schemas;
mod settings;
#[cfg(unix)]
mod sharing;
#[cfg(target_os = "linux")]
mod shells;
mod snapshots;
#[cfg(target_os = "linux")]
mod somebody;
mod table;
#[cfg(target_os = "linux")]
mod two_terminals;
mod typed;
#[cfg(unix)]
mod unix;
mod usage;

use common::Home;

#[test]
fn an_empty_home_lists_nothing_and_knows_nobody() {
    let home = Home::new();
    home.run(["machine", "list"])
        .exits(0)
        .prints("NAME  VM TYPE  CREATED  LAST UP  CPUS  MEMORY  DISK SIZE\n");
    home.run(["machine", "list", "-q"]).exits(0).prints("");
    home.run(["machine", "inspect"])
        .exits(125)
        .prints("[]\n")
        .complains(&["Error: nsvm-machine-default: VM does not exist", "machine init --now"]);
    for verb in ["start", "stop", "restart", "wait", "rm", "logs", "ssh-config"] {
        let ran = home.run(["machine", verb, "ghost"]).exits(125);
        let first = ran.stderr().lines().next().unwrap_or_default().to_owned();
        assert_eq!(first, "Error: ghost: VM does not exist", "{verb}");
    }
    home.run(["machine", "rm", "--force", "ghost"]).exits(125).complains(&["does not exist"]);
}

#[test]
fn commands_without_a_machine_say_how_to_get_one() {
    let home = Home::new();
    home.run(["unshare", "--user", "true"]).exits(125).complains(&[
        "Error: nsvm-machine-default: VM does not exist",
        "`nsvm machine init --now`",
    ]);
    home.run(["--machine", "other", "exec", "true"])
        .exits(125)
        .complains(&["other: VM does not exist"]);
}

#[test]
fn usage_errors_are_worded_as_the_users_of_a_verb_expect() {
    let home = Home::new();
    home.run(["machine", "start", "--bogus"]).exits(125).complains(&["Error: ", "--bogus"]);
    home.run(["unshare", "--bogus"])
        .exits(1)
        .complains(&["unshare: unrecognized option '--bogus'", "Try 'nsvm unshare --help'"]);
    home.run(["--machine", "x", "unshare", "-Z"]).exits(1).complains(&["unshare: invalid option"]);
    home.run(["exec", "--bogus"]).exits(125).complains(&["Error: "]);
    home.run(["machine", "init", "qemu"]).exits(125).complains(&["qemu", "VM provider"]);
    home.run(["machine", "init", "../x"]).exits(125).complains(&["../x", "invalid name"]);
    home.run([]).exits(125);
}

#[test]
fn help_and_version_go_to_stdout() {
    let home = Home::new();
    let help = home.run(["--help"]).exits(0);
    assert!(help.stdout().contains("machine") && help.stderr().is_empty());
    assert!(!help.stdout().contains(".exe"));
    assert!(home.run(["--version"]).exits(0).stdout().starts_with("nsvm 0."));
    // As util-linux has it of each program.
    for verb in ["unshare", "nsenter", "lsns"] {
        let version = home.run([verb, "-V"]).exits(0).stdout();
        assert!(version.starts_with(&format!("nsvm-{verb} 0.")), "{version}");
        home.run([verb, "--version"]).exits(0).prints(&version);
    }
}

#[test]
fn one_bad_machine_file_never_hides_the_others() {
    let home = Home::new();
    home.run(["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "1", "good"])
        .exits(0);
    let dir = home.path().join("config/machine");
    for (name, text) in
        [("cut", "{\"Version\":"), ("future", "{\"Version\":77}"), ("foreign", "[1]")]
    {
        std::fs::write(dir.join(format!("{name}.json")), text).unwrap();
    }
    home.run(["machine", "list", "-q"]).exits(0).prints("good\n").complains(&[
        "cut.json",
        "future.json",
        "schema version 77",
        "foreign.json",
    ]);
    home.run(["machine", "inspect", "good", "cut"]).exits(125).complains(&["cut.json"]);
    // The bad one can be removed, too.
    home.run(["machine", "rm", "-f", "cut"]).exits(0);
    assert!(!dir.join("cut.json").exists());
    home.run(["machine", "rm", "-f", "good"]).exits(0);
    assert_eq!(home.traces_of("good"), Vec::<std::path::PathBuf>::new());
}
