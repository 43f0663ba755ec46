//! What people type: words too many or too few, options twice, numbers that are
//! none, names of nobody. Nothing of it leaves a trace.

use std::path::PathBuf;

use crate::common::Home;
use crate::failures::init;

#[test]
fn a_verb_that_is_missing_is_asked_for_below_the_help() {
    let home = Home::new();
    for (words, named) in [
        (&[][..], "`nsvm COMMAND`"),
        (&["machine"], "`nsvm machine COMMAND`"),
        (&["machine", "os"], "`nsvm machine os COMMAND`"),
        (&["image"], "`nsvm image COMMAND`"),
        (&["ns"], "`nsvm ns COMMAND`"),
    ] {
        let ran = home.run(words.iter().copied()).exits(125).prints("");
        let stderr = ran.stderr();
        let last = stderr.lines().last().unwrap();
        assert_eq!(last, format!("Error: missing command {named}"), "{stderr}");
        assert!(stderr.contains("Usage: nsvm") && !stderr.starts_with("Error"), "{stderr}");
    }
}

#[test]
fn help_is_a_word_too() {
    let home = Home::new();
    for (asked, same) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "machine", "start"], &["machine", "start", "--help"]),
        (&["machine", "help", "start"], &["machine", "start", "--help"]),
        (&["image", "help"], &["image", "--help"]),
    ] {
        let help = home.run(same.iter().copied()).exits(0).stdout();
        home.run(asked.iter().copied()).exits(0).prints(&help);
    }
    // The verb's own options come first, those of every verb last.
    let help = home.run(["machine", "start", "--help"]).exits(0).stdout();
    let place = |option: &str| help.find(option).unwrap_or_else(|| panic!("no {option}"));
    assert!(place("--timeout") < place("--quiet"), "{help}");
    assert!(place("--quiet") < place("--color") && place("--color") < place("--log-level"));
    assert!(place("--log-level") < place("--help"), "{help}");
}

/// As podman has it: the last one counts.
#[test]
fn an_option_may_be_typed_twice() {
    let home = Home::new();
    let twice = ["--cpus", "7", "--cpus", "1", "--memory", "9", "--memory", "256", "-s", "1"];
    home.run(init(&["-q", "-q", "--image", "/dev/null", "-s", "2"]).iter().chain(&twice).copied())
        .exits(0);
    let name = "nsvm-machine-default";
    let shown =
        |format: &str| home.run(["machine", "inspect", "--format", format]).exits(0).stdout();
    assert_eq!(shown("{{.Resources.CPUs}} {{.Resources.Memory}} {{.Resources.Swap}}"), "1 256 1\n");
    home.run(["machine", "set", "--rootful", "--rootful=false", "--memory=1", "-m", "300"])
        .exits(0);
    assert_eq!(shown("{{.Rootful}} {{.Resources.Memory}}"), "false 300\n");
    home.run(["machine", "list", "-q", "--quiet", "--format=json", "--format", "table", "-q"])
        .exits(0)
        .prints(&format!("{name}\n"));
    // What may be there several times is.
    home.run(["machine", "set", "-p", "8081:81", "-p", "8082:82"]).exits(0);
    assert_eq!(shown("{{len .Ports}}"), "2\n");
}

#[test]
fn a_number_that_is_none_is_named_with_its_option() {
    let home = Home::new();
    home.run(init(&["-q", "--image", "/dev/null", "m1"])).exits(0);
    for (words, option) in [
        (&["init", "--memory", "-1", "x"][..], "--memory <MiB>"),
        (&["init", "--memory", "2g", "x"], "--memory <MiB>"),
        (&["init", "--disk-size", "10G", "x"], "--disk-size <GiB>"),
        (&["init", "--cpus", "", "x"], "--cpus <CPUS>"),
        (&["init", "--cpus", "1.5", "x"], "--cpus <CPUS>"),
        (&["set", "--disk-size", "99999999999999999999", "m1"], "--disk-size <GiB>"),
        (&["stop", "--timeout", "-1", "m1"], "--timeout <SECONDS>"),
        (&["start", "--timeout", "0", "m1"], "--timeout <SECONDS>"),
        (&["wait", "--timeout", "x", "m1"], "--timeout <SECONDS>"),
    ] {
        let all = ["machine"].iter().chain(words).copied();
        let ran = home.run(all).exits(125).prints("");
        let stderr = ran.stderr();
        assert!(stderr.starts_with("Error: invalid value '"), "{words:?}: {stderr}");
        assert!(stderr.contains(&format!("for '{option}'")), "{words:?}: {stderr}");
        assert!(stderr.lines().all(|line| line.chars().count() <= 120), "{stderr}");
    }
}

/// podman's `set` without a flag succeeds, too.
#[test]
fn a_change_of_nothing_changes_nothing() {
    let home = Home::new();
    home.run(init(&["-q", "--image", "/dev/null", "m1"])).exits(0);
    let path = home.path().join("config/machine/m1.json");
    let before = std::fs::read(&path).unwrap();
    let said = home.run(["machine", "set", "m1"]).exits(0).prints("");
    assert_eq!(said.stderr(), "");
    assert_eq!(std::fs::read(path).unwrap(), before);
    home.run(["machine", "set", "ghost"]).exits(125).complains(&["ghost: VM does not exist"]);
}

/// What podman takes and nothing here needs; what cannot be had is named.
#[test]
fn options_of_podman_are_taken_or_refused_by_name() {
    let home = Home::new();
    let taken = ["--provider", "qemu", "--tls-verify", "--volume-driver", "virtfs", "--usb", ""];
    let more = ["--user-mode-networking=false", "--image-path", "/dev/null", "-u=false"];
    home.run(init(&["-q"]).into_iter().chain(taken).chain(more).chain(["m1"])).exits(0);
    home.run(["machine", "set", "--user-mode-networking", "m1"]).exits(0);
    // Windows has no volumes at all.
    let volume = if cfg!(windows) { "QEMU offers no 9p" } else { "virtiofs" };
    for (words, says) in [
        (&["init", "--provider", "libkrun", "m2"][..], "unsupported provider \"libkrun\""),
        (&["init", "--tls-verify=false", "m2"], "--tls-verify=false is not possible"),
        (&["init", "--usb", "bus=1,devnum=2", "m2"], "--usb is not possible"),
        (&["set", "--usb", "vendor=1,product=2", "m1"], "--usb is not possible"),
        (&["stop", "--suspend", "--force", "m1"], "--suspend"),
        (&["set", "-p", "53:53/udp", "m1"], "UDP comes later"),
        (&["set", "-v", "/tmp:/mnt/x:virtiofs", "m1"], volume),
    ] {
        let all = ["machine"].iter().chain(words).copied();
        home.run(all).exits(125).complains(&["Error: ", says]);
    }
    home.run(["machine", "list", "-q"]).exits(0).prints("m1\n");
}

#[test]
fn options_of_ssh_are_known_ones_and_come_before_the_command() {
    let home = Home::new();
    home.run(init(&["-q", "--image", "/dev/null", "m1"])).exits(0);
    home.run(["machine", "ssh", "--usrname", "root", "m1", "ls"])
        .exits(125)
        .prints("")
        .complains(&["unexpected argument '--usrname'", "'--username'"]);
    // Behind the first word they are the command's, and so are those behind `--`.
    for words in [&["m1", "ls", "--bogus"][..], &["m1", "--", "--bogus"], &["--", "-x"]] {
        let all = ["machine", "ssh"].iter().chain(words).copied();
        let ran = home.run(all).exits(125);
        assert!(!ran.stderr().contains("unexpected"), "{words:?}: {}", ran.stderr());
    }
}

/// Each verb says so of a machine that is not there, and makes nothing of it.
#[test]
fn a_machine_that_does_not_exist_stays_so() {
    let home = Home::new();
    home.run(init(&["-q", "--image", "/dev/null", "m1"])).exits(0);
    let nothing = || {
        assert_eq!(home.traces_of("ghost"), Vec::<PathBuf>::new());
        home.run(["machine", "rm", "-f", "ghost"])
            .exits(125)
            .complains(&["Error: ghost: VM does not exist", "Hint: "]);
        assert_eq!(home.traces_of("ghost"), Vec::<PathBuf>::new());
    };
    for words in [
        &["start", "ghost"][..],
        &["stop", "ghost"],
        &["stop", "--force", "ghost"],
        &["suspend", "ghost"],
        &["restart", "ghost"],
        &["wait", "ghost"],
        &["rm", "ghost"],
        &["set", "--cpus", "1", "ghost"],
        &["set", "ghost"],
        &["inspect", "ghost"],
        &["inspect", "m1", "ghost"],
        &["cp", "ghost:a", "b"],
        &["cp", "b", "ghost:a"],
        &["clone", "ghost", "other"],
        &["rename", "ghost", "other"],
        &["default", "ghost"],
        &["protect", "ghost"],
        &["unprotect", "m1", "ghost"],
        &["export", "ghost", "/nowhere/file"],
        &["os", "apply", "x", "ghost"],
        &["os", "upgrade", "ghost"],
        &["doctor", "ghost"],
        &["logs", "ghost"],
        &["events", "ghost"],
        &["ssh-config", "ghost"],
        &["connect", "podman", "ghost"],
        &["disconnect", "docker", "ghost"],
        &["env", "ghost"],
    ] {
        let all = ["machine"].iter().chain(words).copied();
        home.run(all).exits(125).complains(&["Error: ghost: VM does not exist"]);
        nothing();
    }
    // Nor does one that could not be made.
    for words in [
        &["init", "--image", "/no/such/image", "ghost"][..],
        &["init", "--image", "", "ghost"],
        &["init", "--image", "/dev/null", "--disk-size", "99999", "ghost"],
        &["init", "--image", "/dev/null", "--ignition-path", "/no/such", "ghost"],
        &["init", "--image", "/dev/null", "--timezone", "No/Where", "ghost"],
        &["clone", "m1", "ghost"],
        &["rename", "m1", "m1"],
        &["import", "/dev/null", "ghost"],
    ] {
        let all = ["machine"].iter().chain(words).copied();
        home.run(all).exits(125).complains(&["Error: "]);
        nothing();
    }
    assert_eq!(home.traces_of("other"), Vec::<PathBuf>::new());
}
