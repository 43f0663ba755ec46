//! `machine info` and `machine doctor`: what they say, and what stays secret.

use std::fs;
use std::io::Read;

use serde_json::Value;

use crate::common::{Home, Ran, shown};

fn init(home: &Home) {
    let args = ["machine", "init", "-q", "--disk-size", "1", "--memory", "256", "--cpus", "1"];
    home.run(args.into_iter().chain(["--image", "/dev/null", "m1"])).exits(0);
}

#[test]
fn info_tells_of_the_host_in_three_forms() {
    let home = Home::new();
    init(&home);
    let json = home.run(["machine", "info", "--format", "json"]).exits(0).stdout();
    let info: Value = serde_json::from_str(&json).unwrap();
    let host = &info["Host"];
    assert_eq!((&host["VMType"], &host["NumberOfMachines"]), (&"qemu".into(), &1.into()));
    // As podman has it: a default is a machine, systems have Go's names.
    let text = |key: &str| host[key].as_str().unwrap().to_owned();
    let of_default = || [text("DefaultMachine"), text("CurrentMachine"), text("MachineState")];
    assert_eq!(of_default(), ["", "", ""]);
    assert!(["amd64", "arm64"].contains(&text("Arch").as_str()), "{host}");
    assert!(["linux", "darwin", "windows"].contains(&text("OS").as_str()), "{host}");
    assert_eq!(info["Version"]["APIVersion"], "1");
    let config_dir = home.join("config/machine");
    assert_eq!(host["MachineConfigDir"], config_dir.to_str().unwrap());
    assert!(host["Accelerator"]["InUse"].is_string(), "{host}");
    assert!(host["QEMU"]["Version"].as_str().unwrap().contains('.'), "{host}");
    let yaml = home.run(["machine", "info"]).exits(0).stdout();
    for line in ["host:", "  numberofmachines: 1", "  vmtype: qemu", "version:"] {
        assert!(yaml.lines().any(|found| found == line), "no {line:?} in\n{yaml}");
    }
    home.run(["machine", "info", "-f", "{{.Host.VMType}}/{{.Host.NumberOfMachines}}"])
        .exits(0)
        .prints("qemu/1\n");
    home.run(["machine", "info", "-f", "{{.Nope}}"])
        .exits(125)
        .complains(&["can't evaluate field Nope"]);
    let default = home.run(["machine", "inspect", "--format", "{{.Name}}", "m1"]).exits(0);
    home.run(["machine", "default", default.stdout().trim()]).exits(0);
    let format = "{{.Host.DefaultMachine}} {{.Host.CurrentMachine}} {{.Host.MachineState}}";
    home.run(["machine", "info", "-f", format]).exits(0).prints("m1 m1 Stopped\n");
    // It tells of a host without QEMU too.
    let mut command = home.nsvm(["machine", "info", "-f", "{{.Host.QEMU.Problem}}"]);
    let ran = Ran(command.env("NSVM_QEMU", "/no/such/qemu").output().unwrap()).exits(0);
    assert!(ran.stdout().contains(&shown("/no/such/qemu")), "{}", ran.stdout());
}

fn findings(home: &Home) -> (i32, Vec<Value>) {
    let ran = home.run(["machine", "doctor", "--format", "json"]);
    (ran.code(), serde_json::from_str(&ran.stdout()).unwrap())
}

/// The finding of a check that did not go well, which has a way out.
fn bad<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    let found = findings.iter().find(|f| f["Check"] == check && f["Status"] == "failed");
    let found = found.unwrap_or_else(|| panic!("{check} passes in {findings:#?}"));
    assert_ne!(found["Fix"], "");
    found
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_what_mends_it() {
    let home = Home::new();
    init(&home);
    let (code, healthy) = findings(&home);
    let failed: Vec<_> = healthy.iter().filter(|f| f["Status"] == "failed").collect();
    assert_eq!((code, failed), (0, vec![]));
    for check in ["qemu", "firmware", "accelerator", "disk space", "sockets"] {
        assert!(healthy.iter().any(|f| f["Check"] == check && f["Machine"] == ""), "{check}");
    }
    for check in ["state", "lock", "disk", "base image", "key", "ports", "guest"] {
        assert!(healthy.iter().any(|f| f["Check"] == check && f["Machine"] == "m1"), "{check}");
    }
    home.run(["machine", "doctor", "ghost"]).exits(125).complains(&["ghost: VM does not exist"]);

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let key = home.path().join("data/m1/id_ed25519");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let cache = home.path().join("cache/images");
    let base = fs::read_dir(&cache).unwrap().flatten().map(|entry| entry.path());
    let base = base.into_iter().find(|path| path.extension().is_some_and(|s| s == "raw")).unwrap();
    nsvm::host::remove_file(&base).unwrap();
    fs::write(home.path().join("config/machine/bad.json"), "{").unwrap();
    let (code, found) = findings(&home);
    assert_eq!(code, 125);
    #[cfg(unix)]
    assert!(bad(&found, "key")["Fix"].as_str().unwrap().starts_with("chmod 600"));
    bad(&found, "base image");
    assert!(bad(&found, "config")["Detail"].as_str().unwrap().contains("bad.json"));
    let text = home.run(["machine", "doctor"]).exits(125);
    assert!(text.stdout().contains("FAILED   m1: base image: "), "{}", text.stdout());
    text.complains(&["Error: ", "checks failed"]);
    let mut command = home.nsvm(["machine", "doctor", "--format", "json"]);
    let ran = Ran(command.env("NSVM_QEMU", "/no/such/qemu").output().unwrap()).exits(125);
    bad(&serde_json::from_str::<Vec<Value>>(&ran.stdout()).unwrap(), "qemu");
}

#[test]
fn a_base_image_that_has_changed_is_found() {
    let home = Home::new();
    let image = home.path().join("disk.raw");
    fs::write(&image, vec![7; 8192]).unwrap();
    let args = ["machine", "init", "-q", "--disk-size", "1", "--memory", "256", "--cpus", "1"];
    home.run(args.into_iter().chain(["--image", image.to_str().unwrap(), "m1"])).exits(0);
    assert_eq!(findings(&home).0, 0);
    let bases = fs::read_dir(home.path().join("cache/images")).unwrap().flatten();
    let base = bases.map(|e| e.path()).find(|p| p.extension().is_some_and(|s| s == "raw")).unwrap();
    let mut permissions = fs::metadata(&base).unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false)] // it is the test's own
    permissions.set_readonly(false);
    fs::set_permissions(&base, permissions).unwrap();
    fs::write(&base, vec![8; 8192]).unwrap();
    let found = findings(&home).1;
    assert!(bad(&found, "base image")["Detail"].as_str().unwrap().contains("SHA-256"));
}

#[test]
fn a_bundle_has_logs_and_no_secrets() {
    let home = Home::new();
    init(&home);
    let state = home.path().join("state/machine/m1");
    fs::create_dir_all(&state).unwrap();
    fs::write(
        state.join("supervisor.log"),
        "proxy http://me:hunter2@proxy:3128\nAPI_TOKEN=hunter2\nall well\n",
    )
    .unwrap();
    let key = fs::read_to_string(home.path().join("data/m1/id_ed25519")).unwrap();
    fs::write(state.join("serial.log"), format!("oops\n{key}\nlogin:\n")).unwrap();
    let file = home.path().join("report.tar.gz");
    let path = file.to_str().unwrap();
    home.run(["machine", "doctor", "--bundle", path, "m1"]).exits(0).complains(&["Look through"]);
    home.run(["machine", "doctor", "--bundle", path]).exits(125).complains(&["exists already"]);
    let nowhere = home.join("nowhere").join("r.tar.gz");
    home.run(["machine", "doctor", "--bundle", nowhere.to_str().unwrap()])
        .exits(125)
        .prints("")
        .complains(&["r.tar.gz\": there is no directory ", "Hint: Make it"]);
    let bytes = fs::read(&file).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
    let (mut names, mut all) = (Vec::new(), String::new());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        names.push(entry.path().unwrap().to_string_lossy().into_owned());
        entry.read_to_string(&mut all).unwrap();
    }
    for wanted in ["info.json", "doctor.json", "m1/config.json", "m1/supervisor.log"] {
        assert!(names.contains(&format!("nsvm-report/{wanted}")), "{names:?}");
    }
    assert!(names.iter().all(|name| !name.contains(".ign") && !name.contains("id_ed25519")));
    assert!(all.contains("all well") && all.contains("login:") && all.contains("oops"));
    let body = key.lines().nth(1).unwrap();
    assert!(!all.contains("hunter2") && !all.contains(body), "a secret is in the bundle");
}
