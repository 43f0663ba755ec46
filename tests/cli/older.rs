//! Machine files of other times: older ones load, newer ones and those that are
//! none are refused by name, while the other machines work.

use std::fs;
use std::path::Path;

use crate::common::Home;
use crate::common::json::valid;

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/machine-config")
}

/// A home with the fixtures of machines that some nsvm has written.
fn with_older_machines() -> (Home, Vec<String>) {
    let home = Home::new();
    let dir = home.path().join("config/machine");
    fs::create_dir_all(&dir).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(fixtures()).unwrap().flatten() {
        fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
        names.push(entry.path().file_stem().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    (home, names)
}

#[test]
fn a_machine_that_any_older_nsvm_made_still_loads() {
    let (home, names) = with_older_machines();
    assert!(names.len() >= 2, "{names:?}");
    let listed = home.run(["machine", "list", "-q"]).exits(0);
    assert_eq!(listed.stderr(), "");
    let mut shown: Vec<_> = listed.stdout().lines().map(str::to_owned).collect();
    shown.sort();
    assert_eq!(shown, names);
    for name in &names {
        let inspected = home.run(["machine", "inspect", name]).exits(0).stdout();
        valid("inspect.schema.json", &inspected);
        let path = home.path().join(format!("config/machine/{name}.json"));
        valid("config.schema.json", &fs::read_to_string(&path).unwrap());
    }
}

#[test]
fn what_this_nsvm_does_not_know_survives_a_change() {
    let (home, names) = with_older_machines();
    let name = &names[0];
    let path = home.path().join(format!("config/machine/{name}.json"));
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["Tomorrow"] = serde_json::json!({ "a": [1] });
    fs::write(&path, config.to_string()).unwrap();
    home.run(["machine", "set", "--memory", "300", name]).exits(0);
    let after: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(after["Tomorrow"], config["Tomorrow"]);
    assert_eq!(after["Resources"]["Memory"], 300);
}

#[test]
fn what_cannot_be_read_is_named_and_the_others_work() {
    let (home, names) = with_older_machines();
    let dir = home.path().join("config/machine");
    let good = fs::read_to_string(dir.join(format!("{}.json", names[0]))).unwrap();
    let bad: [(&str, Vec<u8>, &str); 6] = [
        ("cut", good.as_bytes()[..good.len() / 2].to_vec(), "EOF"),
        ("empty", Vec::new(), "EOF"),
        ("foreign", br#"{"swagger":"2.0","paths":{}}"#.to_vec(), "missing field"),
        ("list", b"[1,2]".to_vec(), "invalid type"),
        ("binary", vec![0xff, 0xfe, 0, 1], "expected value"),
        ("newer", good.replacen("\"Version\": 1", "\"Version\": 9999", 1).into_bytes(), "9999"),
    ];
    for (name, bytes, _) in &bad {
        fs::write(dir.join(format!("{name}.json")), bytes).unwrap();
    }
    let listed = home.run(["machine", "list", "-q"]).exits(0);
    assert_eq!(listed.stdout().lines().count(), names.len());
    let said = listed.stderr();
    for (name, _, reason) in &bad {
        let path = home.join("config/machine").join(format!("{name}.json"));
        let line = said.lines().find(|line| line.contains(path.to_str().unwrap()));
        let line = line.unwrap_or_else(|| panic!("{name} is not named in {said}"));
        assert!(line.contains(reason), "{line}");
        let path = dir.join(format!("{name}.json"));
        let before = fs::read(&path).unwrap();
        for verb in ["start", "set", "ssh-config", "inspect"] {
            let more: &[&str] = if verb == "set" { &["--memory", "300"] } else { &[] };
            let all = [&["machine", verb][..], more, &[name]].concat();
            home.run(all).exits(125).complains(&[&format!("{name}.json"), "Hint: "]);
        }
        assert_eq!(fs::read(&path).unwrap(), before, "nothing is lost");
    }
    home.run(["machine", "set", "--memory", "300", &names[0]]).exits(0);
    // They can be taken away, too.
    for (name, ..) in &bad {
        home.run(["machine", "rm", "--force", name]).exits(0);
        assert!(!dir.join(format!("{name}.json")).exists());
    }
}
