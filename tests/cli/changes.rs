//! Changing machines that are stopped, and taking all of them away.

use std::fs;

use serde_json::Value;

use crate::common::Home;

const INIT: [&str; 8] =
    ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "2", "--cpus"];

fn made(name: &str) -> Home {
    let home = Home::new();
    home.run(INIT.into_iter().chain(["1", "--memory", "512", name])).exits(0);
    home
}

fn resources(home: &Home) -> Value {
    let shown = home.run(["machine", "inspect", "m1"]).exits(0).stdout();
    serde_json::from_str::<Value>(&shown).unwrap()[0]["Resources"].clone()
}

fn set(home: &Home, args: &[&str]) -> crate::common::Ran {
    home.run(["machine", "set"].into_iter().chain(args.iter().copied()).chain(["m1"]))
}

/// The size in its header, in bytes.
fn disk(home: &Home) -> u64 {
    let overlay = home.path().join("data/m1/disk.qcow2");
    nsvm::image::virtual_size(&overlay, nsvm::machine::config::DiskFormat::Qcow2).unwrap()
}

#[test]
fn a_stopped_machine_changes_as_asked() {
    let home = made("m1");
    set(&home, &["--memory", "1024", "--disk-size", "3", "--rootful"]).exits(0).prints("");
    let now = resources(&home);
    assert_eq!(
        (&now["CPUs"], &now["Memory"], &now["DiskSize"]),
        (&1.into(), &1024.into(), &3.into())
    );
    assert_eq!(disk(&home), 3 << 30);
    let rootful = || {
        let shown = home.run(["machine", "inspect", "m1"]).exits(0).stdout();
        serde_json::from_str::<Value>(&shown).unwrap()[0]["Rootful"].clone()
    };
    assert_eq!(rootful(), true);
    set(&home, &["--rootful=false"]).exits(0);
    assert_eq!(rootful(), false);
}

#[test]
fn a_change_that_cannot_be_changes_nothing() {
    let home = made("m1");
    let before = resources(&home);
    for (args, said) in [
        (&["--memory", "1024", "--disk-size", "1"][..], "a disk only grows"),
        (&["--disk-size", "5", "--cpus", "4096"], "this host has"),
        (&["--disk-size", "5", "--memory", "1"], "too little"),
        (&["--disk-size", "99999"], "99999 GiB is not possible"),
    ] {
        set(&home, args).exits(125).complains(&[said]);
    }
    assert_eq!((resources(&home), disk(&home)), (before, 2 << 30));
    home.run(["machine", "set", "--cpus", "1", "ghost"])
        .exits(125)
        .complains(&["ghost: VM does not exist"]);
}

#[test]
fn a_reset_asks_and_takes_everything_but_the_config_file() {
    let home = made("m1");
    let settings = home.path().join("config/nsvm.toml");
    fs::write(&settings, "").unwrap();
    fs::write(home.path().join("config/machine/bad.json"), "{").unwrap();
    let asked = home.run(["machine", "reset"]).exits(125);
    asked.complains(&["m1", "machine", "Are you sure"]);
    assert!(home.path().join("config/machine/m1.json").exists(), "nobody said yes");
    home.run(["machine", "reset", "--force"]).exits(0).prints("");
    assert!(settings.exists());
    assert_eq!(home.traces_of("m1"), Vec::<std::path::PathBuf>::new());
    home.run(["machine", "list", "-q"]).exits(0).prints("");
    home.run(["image", "list", "-q"]).exits(0).prints("");
    home.run(["machine", "reset", "--force"]).exits(0);
}

#[test]
fn other_ssh_programs_are_told_how() {
    let home = made("m1");
    let entry = home.run(["machine", "ssh-config", "m1"]).exits(0).stdout();
    assert!(entry.starts_with("Host nsvm-m1\n  HostName 127.0.0.1\n  Port "), "{entry}");
    let known = home.path().join("data/m1/known_hosts");
    assert!(fs::read_to_string(known).unwrap().starts_with("nsvm-m1 ssh-ed25519 AAAA"));
    let options =
        home.run(["machine", "ssh-config", "--format", "options", "m1"]).exits(0).stdout();
    // The home has a space in its path.
    let begins = if cfg!(windows) { "C:" } else { "/" };
    assert!(options.contains(&format!("'IdentityFile=\"{begins}")), "{options}");
    if cfg!(windows) {
        return;
    }
    let checked = std::process::Command::new("sh")
        .args(["-c", &format!("ssh -G -F none {} nsvm-m1", options.trim())])
        .output()
        .unwrap();
    let read = String::from_utf8(checked.stdout).unwrap();
    let identity = home.path().join("data/m1/id_ed25519");
    assert!(read.contains(&format!("identityfile {}", identity.display())), "{read}");
}

/// What a suspension leaves, without the guest: enough for all but a start.
fn suspend_by_hand(home: &Home) {
    fs::write(home.path().join("data/m1/suspended.ram"), b"memory").unwrap();
    fs::write(home.path().join("data/m1/suspended.json"), b"{}").unwrap();
}

#[test]
fn how_long_nothing_may_use_it_can_be_chosen() {
    let home = made("m1");
    let shown = |name: &str| {
        home.run(["machine", "inspect", "--format", "{{.IdleSuspend}}", name]).exits(0).stdout()
    };
    assert_eq!(shown("m1"), "off\n");
    set(&home, &["--idle-suspend", "90m"]).exits(0);
    assert_eq!(shown("m1"), "1h30m\n");
    for bad in ["10", "soon", "-1m"] {
        let option = format!("--idle-suspend={bad}");
        set(&home, &[&option]).exits(125).complains(&["such as 90s, 10m or 1h30m, or off"]);
    }
    // The guest and its memory do not know of it.
    suspend_by_hand(&home);
    set(&home, &["--idle-suspend", "off"]).exits(0);
    assert_eq!(shown("m1"), "off\n");
    set(&home, &["--idle-suspend", "1h", "--cpus", "1"]).exits(125).complains(&["suspended"]);
    let init = ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "1"];
    let made = |more: &[&str]| {
        let mut init = home.nsvm([&init[..], more].concat());
        crate::common::Ran(init.env("NSVM_MACHINE_IDLE_SUSPEND", "20m").output().unwrap()).exits(0)
    };
    made(&["m2"]);
    made(&["--idle-suspend", "0", "m3"]);
    made(&["--provisioner", "none", "m4"]).complains(&["not be suspended by itself"]);
    assert_eq!([shown("m2"), shown("m3"), shown("m4")], ["20m\n", "off\n", "off\n"]);
    let none = home.run(["machine", "set", "--idle-suspend", "1h", "m4"]).exits(125);
    none.complains(&["--idle-suspend needs something of nsvm"]);
}

#[test]
fn a_suspended_machine_keeps_its_state_until_it_is_given_up() {
    let home = made("m1");
    home.run(["machine", "suspend", "m1"]).exits(125).complains(&["\"m1\" is not running"]);
    home.run(["machine", "suspend", "no"]).exits(125).complains(&["no: VM does not exist"]);
    suspend_by_hand(&home);
    let state = || home.run(["machine", "inspect", "--format", "{{.State}}", "m1"]).exits(0);
    state().prints("suspended\n");
    let list = home.run(["machine", "list", "--format", "{{.Suspended}}"]).exits(0);
    list.prints("true\n");
    home.run(["machine", "suspend", "m1"]).exits(0);
    home.run(["machine", "stop", "m1"]).exits(0).complains(&["suspended", "stop --force m1"]);
    set(&home, &["--cpus", "1"]).exits(125).complains(&["it is suspended", "stop --force m1"]);
    state().prints("suspended\n");
    home.run(["machine", "stop", "--force", "m1"]).exits(0);
    state().prints("stopped\n");
    assert!(!home.path().join("data/m1/suspended.ram").exists());
    suspend_by_hand(&home);
    home.run(["machine", "rm", "--force", "m1"]).exits(0);
    assert!(home.traces_of("m1").is_empty());
}
