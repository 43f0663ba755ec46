//! The config file and what comes before it.

use std::fs;

use crate::common::Home;

const INIT: [&str; 6] = ["machine", "init", "--disk-size", "1", "--image", "/dev/null"];

fn init<'a>(more: &[&'a str]) -> Vec<&'a str> {
    INIT.iter().chain(more).copied().collect()
}

#[test]
fn a_wrong_config_file_is_named_with_its_line() {
    let home = Home::new();
    let path = home.path().join("config/nsvm.toml");
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
    let path = home.path().join("config/nsvm.toml");
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
