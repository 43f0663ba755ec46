//! Who provisions a machine, as `init` is told: what is written, what refused.

use std::fs;

use serde_json::Value;

use crate::common::{Home, Ran};

const INIT: [&str; 7] = ["machine", "init", "-q", "--disk-size", "1", "--image", "/dev/null"];

fn init<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&INIT[..], rest, &["m1"]].concat()
}

fn file(home: &Home, name: &str, text: &str) -> String {
    let path = home.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Which of the Ignition config and the seed there is, and the config's word.
fn written(home: &Home) -> (bool, bool, String) {
    let config = fs::read(home.path().join("config/machine/m1.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let word = config["Provisioning"].as_str().unwrap().to_owned();
    let ignition = home.path().join("config/machine/m1.ign").exists();
    (ignition, home.path().join("data/m1/seed.img").exists(), word)
}

#[test]
fn an_image_that_says_nothing_is_offered_both_unless_the_user_decides() {
    let home = Home::new();
    let user = file(&home, "user data", "#cloud-config\n{}\n");
    let merge = file(&home, "own.ign", r#"{ "ignition": { "version": "3.3.0" } }"#);
    let cases: [(&[&str], _); 6] = [
        (&[], (true, true, "either")),
        (&["--provisioner", "ignition"], (true, false, "ignition")),
        (&["--provisioner", "cloud-init"], (false, true, "cloud-init")),
        (&["--provisioner", "none"], (false, false, "none")),
        (&["--cloud-init", &user], (false, true, "cloud-init")),
        (&["--ignition-merge", &merge], (true, false, "ignition")),
    ];
    for (options, (ignition, seed, word)) in cases {
        home.run(init(options)).exits(0);
        assert_eq!(written(&home), (ignition, seed, word.to_owned()), "{options:?}");
        let removal = home.run(["machine", "rm", "-f", "m1"]).exits(0);
        assert!(home.traces_of("m1").is_empty(), "{}", removal.stderr());
    }
}

#[test]
fn what_the_guest_could_not_use_is_refused_before_anything_is_made() {
    let home = Home::new();
    let text = file(&home, "some text", "hello\n");
    let old = file(&home, "old.ign", r#"{ "ignition": { "version": "3.4.0" } }"#);
    let cases: [(&[&str], [&str; 2]); 12] = [
        (&["--playbook", "/no/such.yaml"], ["cannot read --playbook \"/no/such.yaml\"", "Hint: "]),
        (
            &["--provisioner", "none", "--playbook", &old],
            ["--playbook and --provisioner none", "Hint: "],
        ),
        (&["--cloud-init", &text], ["some text\": its first line", "Hint: Begin the file"]),
        (&["--cloud-init", "/no/such"], ["cannot read --cloud-init \"/no/such\"", "Hint: "]),
        (&["--ignition-merge", &text], ["it is not JSON", "`butane FILE`"]),
        (&["--ignition-merge", &old], ["\"3.4.0\"", "3.0.0 to 3.3.0"]),
        (&["--guest-ca", &text], ["some text\": it holds no certificate", "Hint: Give --guest-ca"]),
        (&["--timezone", "Europe/Atlantis X"], ["\"Europe/Atlantis X\" is no time zone", "Hint: "]),
        (&["--swap", "1024"], ["1024 MiB of swap do not fit on a disk of 1 GiB", "Hint: "]),
        (&["--username", "a b"], ["\"a b\" cannot be the name of a user", "Hint: "]),
        (&["--provisioner", "none", "--swap", "1"], ["--swap and --provisioner none", "Hint: "]),
        (
            &["--provisioner", "ignition", "--cloud-init", "USER"],
            ["--cloud-init would be ignored: Ignition provisions", "Hint: Leave out --cloud-init"],
        ),
    ];
    let user = file(&home, "user", "#!/bin/sh\n");
    for (options, wanted) in cases {
        let options: Vec<&str> =
            options.iter().map(|&o| if o == "USER" { user.as_str() } else { o }).collect();
        home.run(init(&options)).exits(125).complains(&wanted);
        let mut left = home.traces_of("m1");
        left.retain(|path| path.extension().is_none_or(|suffix| suffix != "lock"));
        assert!(left.is_empty(), "{options:?}: {left:?}");
    }
}

#[test]
fn an_ignition_file_of_ones_own_goes_with_nothing_of_ours() {
    let home = Home::new();
    let own = file(&home, "own.ign", "{}");
    for other in [
        ["--ignition-merge", &own],
        ["--cloud-init", &own],
        ["--guest-ca", &own],
        ["--playbook", &own],
        ["--provisioner", "none"],
        ["--timezone", "UTC"],
        ["--swap", "64"],
    ] {
        let options = [&["--ignition-path", &own][..], &other[..]].concat();
        home.run(init(&options)).exits(125).complains(&["--ignition-path", other[0]]);
    }
}

#[test]
fn swap_is_shown() {
    let home = Home::new();
    home.run(init(&["--swap", "512"])).exits(0);
    let shown = home.run(["machine", "inspect", "m1"]).exits(0).stdout();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["Resources"]["Swap"], 512);
    let listed = home.run(["machine", "list", "--format", "json"]).exits(0).stdout();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["Swap"], "536870912");
}

#[test]
fn what_this_host_trusts_can_be_taken_over() {
    let home = Home::new();
    let pem = rcgen::generate_simple_self_signed(vec!["test".to_owned()]).unwrap().cert.pem();
    let store = file(&home, "store.pem", &format!("{pem}{pem}"));
    let init_with = |store: &str| {
        let mut command = home.nsvm(init(&["--import-native-ca", "--provisioner", "ignition"]));
        Ran(command.env("SSL_CERT_FILE", store).env_remove("SSL_CERT_DIR").output().unwrap())
    };
    init_with(&store).exits(0);
    let config = fs::read(home.path().join("config/machine/m1.ign")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let files = config["storage"]["files"].as_array().unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"/etc/nsvm/ca/0.crt") && !paths.contains(&"/etc/nsvm/ca/1.crt"));
    home.run(["machine", "rm", "-f", "m1"]).exits(0);
    let none = file(&home, "empty.pem", "");
    init_with(&none)
        .exits(125)
        .complains(&["this host's own certificate authorities", "--guest-ca"]);
}
