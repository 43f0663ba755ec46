//! Verbs about whole machines: default, rename, export, import, protection,
//! what a removal saves. Machines here do not boot; what a guest makes of a new
//! name or of new keys is told in tests/vm.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::Home;

fn init(home: &Home, name: &str) {
    let args = ["machine", "init", "-q", "--disk-size", "1", "--memory", "256", "--cpus", "1"];
    home.run(args.into_iter().chain(["--image", "/dev/null", name])).exits(0);
}

fn config(home: &Home, name: &str) -> Value {
    let path = home.path().join(format!("config/machine/{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn overlay(home: &Home, name: &str) -> PathBuf {
    home.path().join(format!("data/{name}/disk.qcow2"))
}

/// What is left but for locks, which others may be waiting for.
fn traces(home: &Home, name: &str) -> Vec<PathBuf> {
    let mut left = home.traces_of(name);
    left.retain(|path| path.extension().is_none_or(|suffix| suffix != "lock"));
    left
}

#[test]
fn the_default_machine_can_be_chosen() {
    let home = Home::new();
    home.run(["machine", "default"]).exits(0).prints("nsvm-machine-default\n");
    home.run(["machine", "default", "ghost"]).exits(125).complains(&["ghost: VM does not exist"]);
    init(&home, "one");
    init(&home, "two");
    home.run(["machine", "default", "two"]).exits(0);
    home.run(["machine", "default"]).exits(0).prints("two\n");
    let json = home.run(["machine", "list", "--format", "json"]).exits(0).stdout();
    let listed: Value = serde_json::from_str(&json).unwrap();
    for machine in listed.as_array().unwrap() {
        assert_eq!(machine["Default"], machine["Name"] == "two");
    }
    home.run(["machine", "inspect", "--format", "{{.Name}}"]).exits(0).prints("two\n");
    home.run(["exec", "true"]).exits(125).complains(&["machine \"two\" is not running"]);
    home.run(["machine", "ssh", "true"]).exits(125).complains(&["\"two\" is not running"]);
    home.run(["machine", "stop"]).exits(0).prints("Machine \"two\" stopped successfully\n");
    // It goes along with a new name, and ends with the machine.
    home.run(["machine", "rename", "two", "three"]).exits(0);
    home.run(["machine", "default"]).exits(0).prints("three\n");
    home.run(["machine", "rm", "-f"]).exits(0);
    home.run(["machine", "default"]).exits(0).prints("nsvm-machine-default\n");
    home.run(["machine", "inspect", "three"]).exits(125);
}

#[test]
fn a_renamed_machine_is_the_same_under_another_name() {
    let home = Home::new();
    init(&home, "old");
    init(&home, "other");
    let (before, key) = (config(&home, "old"), home.path().join("data/old/id_ed25519"));
    let key = fs::read(key).unwrap();
    for (args, said) in [
        (["old", "other"], "machine \"other\" already exists"),
        (["old", "old"], "machine \"old\" already exists"),
        (["ghost", "new"], "ghost: VM does not exist"),
        (["old", "qemu"], "VM provider"),
    ] {
        home.run(["machine", "rename", args[0], args[1]]).exits(125).complains(&[said]);
    }
    assert_eq!(config(&home, "old"), before);
    home.run(["machine", "rename", "old", "new"]).exits(0).prints("");
    let after = config(&home, "new");
    assert_eq!((&after["Name"], &after["Uuid"]), (&"new".into(), &before["Uuid"]));
    assert_eq!(after["Changes"]["Renamed"], true);
    assert_eq!(fs::read(home.path().join("data/new/id_ed25519")).unwrap(), key);
    assert_eq!(traces(&home, "old"), Vec::<PathBuf>::new());
    home.run(["machine", "list", "-q"]).exits(0).prints("new\nother\n");
    // Its base image knows where it is now.
    home.run(["image", "prune"]).exits(0);
    home.run(["machine", "doctor", "new"]).exits(0);
}

#[test]
fn a_machine_that_was_never_started_has_nothing_to_clone() {
    let home = Home::new();
    init(&home, "one");
    home.run(["machine", "clone", "one", "two"])
        .exits(125)
        .complains(&["was never started", "Hint: "]);
    home.run(["machine", "clone", "one", "one"]).exits(125).complains(&["already exists"]);
    home.run(["machine", "clone", "ghost", "two"]).exits(125).complains(&["ghost: VM"]);
    assert_eq!(traces(&home, "two"), Vec::<PathBuf>::new());
}

#[test]
fn a_copy_has_keys_and_ids_of_its_own() {
    let home = Home::new();
    init(&home, "one");
    // As if it had been up.
    let history = home.path().join("data/one/history.json");
    let mut dates: Value = serde_json::from_slice(&fs::read(&history).unwrap()).unwrap();
    dates["LastUp"] = dates["Created"].clone();
    fs::write(&history, dates.to_string()).unwrap();
    home.run(["machine", "clone", "one", "two"]).exits(0);
    let (one, two) = (config(&home, "one"), config(&home, "two"));
    assert_ne!(one["Uuid"], two["Uuid"]);
    assert_ne!(one["Ssh"]["HostKey"], two["Ssh"]["HostKey"]);
    assert_ne!(one["Ssh"]["Port"], two["Ssh"]["Port"]);
    let public = fs::read_to_string(home.path().join("data/one/id_ed25519.pub")).unwrap();
    assert_eq!(two["Changes"]["Copied"]["UserKey"], public.trim());
    assert_eq!(two["Changes"]["Copied"]["MachineID"].as_str().unwrap().len(), 32);
    let read = |name: &str| fs::read(home.path().join(name)).unwrap();
    assert_ne!(read("data/one/id_ed25519"), read("data/two/id_ed25519"));
    assert_eq!(read("data/one/disk.qcow2"), read("data/two/disk.qcow2"));
    // The start tells the guest; this one does not boot, and its disk stays.
    fs::write(overlay(&home, "two").with_extension("mark"), b"").unwrap();
    let disk = read("data/two/disk.qcow2");
    home.run(["machine", "start", "--timeout", "3", "two"]).exits(125);
    assert_eq!(read("data/two/disk.qcow2"), disk);
}

#[test]
fn a_machine_goes_through_a_file_and_comes_back() {
    let home = Home::new();
    // A real base image, if a small one: what is in it does not matter.
    let image = home.path().join("disk.raw");
    fs::write(&image, b"nsvm".repeat(256_000)).unwrap();
    let args = ["machine", "init", "-q", "--disk-size", "1", "--memory", "256", "--cpus", "1"];
    let image = image.to_str().unwrap();
    let dir = home.path().to_str().unwrap();
    let volume = format!("{dir}:/mnt/x");
    let volume = if nsvm::host::SHARES_DIRECTORIES { &volume } else { "" };
    home.run(args.into_iter().chain(["--image", image, "-v", volume, "m1"])).exits(0);
    let before = config(&home, "m1");
    let key = fs::read(home.path().join("data/m1/id_ed25519")).unwrap();
    let file = home.path().join("m1.nsvm");
    let path = file.to_str().unwrap();
    home.run(["machine", "export", "m1", path]).exits(0).prints("");
    home.run(["machine", "export", "m1", path]).exits(125).complains(&["exists already"]);
    let nowhere = home.join("nowhere").join("m1.nsvm");
    let ran = home.run(["machine", "export", "m1", nowhere.to_str().unwrap()]).exits(125);
    assert!(!ran.stderr().contains(".tmp"), "{}", ran.stderr());
    ran.complains(&["m1.nsvm\": there is no directory ", "nowhere\"\n", "Hint: Make it"]);
    assert!(nsvm::host::is_owners_alone(&file).unwrap(), "private keys are in it");
    home.run(["machine", "import", path]).exits(125).complains(&["\"m1\" already exists"]);
    home.run(["machine", "import", "-q", path, "m2"]).exits(0).prints("m2\n");
    assert_ne!(config(&home, "m2")["Uuid"], before["Uuid"], "both may run at once");

    // On another host: no base image, no machine.
    let elsewhere = Home::new();
    let ran = elsewhere.run(["machine", "import", path]).exits(0);
    if nsvm::host::SHARES_DIRECTORIES {
        ran.complains(&["volumes are not taken over"]);
    }
    let after = config(&elsewhere, "m1");
    assert_eq!(after["Image"]["Sha256"], before["Image"]["Sha256"]);
    assert_eq!(after["Resources"], before["Resources"]);
    assert_eq!(after["Volumes"], Value::Null);
    assert_eq!(fs::read(elsewhere.path().join("data/m1/id_ed25519")).unwrap(), key);
    elsewhere.run(["machine", "doctor", "m1"]).exits(0);
    assert_eq!(backing_file(&overlay(&elsewhere, "m1")), base(&elsewhere, &before));

    // One that was cut short or changed is refused, and nothing is left of it.
    let whole = fs::read(&file).unwrap();
    let other = Home::new();
    for damaged in [&whole[..whole.len() / 2], b"no archive at all", b""] {
        fs::write(&file, damaged).unwrap();
        other.run(["machine", "import", path]).exits(125).complains(&["cannot be imported"]);
        assert_eq!(traces(&other, "m1"), Vec::<PathBuf>::new());
        assert_eq!(traces(&other, "import"), Vec::<PathBuf>::new());
    }
}

fn base(home: &Home, config: &Value) -> String {
    let sha256 = config["Image"]["Sha256"].as_str().unwrap();
    home.join(&format!("cache/images/{sha256}.raw")).to_str().unwrap().to_owned()
}

/// As the header has it (docs/interop/qcow2.txt).
fn backing_file(overlay: &Path) -> String {
    let bytes = fs::read(overlay).unwrap();
    let at = usize::try_from(u64::from_be_bytes(bytes[8..16].try_into().unwrap())).unwrap();
    let length = u32::from_be_bytes(bytes[16..20].try_into().unwrap()) as usize;
    String::from_utf8(bytes[at..at + length].to_vec()).unwrap()
}

#[test]
fn a_protected_machine_is_not_removed() {
    let home = Home::new();
    init(&home, "m1");
    home.run(["machine", "protect", "m1", "ghost"]).exits(125).complains(&["ghost: VM"]);
    home.run(["machine", "rm", "-f", "m1"]).exits(0);
    init(&home, "m1");
    home.run(["machine", "protect", "m1"]).exits(0);
    for refused in [&["machine", "rm", "-f", "m1"][..], &["machine", "reset", "-f"]] {
        home.run(refused.iter().copied())
            .exits(125)
            .complains(&["machine \"m1\" is protected", "nsvm machine unprotect m1"]);
    }
    home.run(["machine", "set", "--memory", "300", "m1"]).exits(0);
    assert_eq!(config(&home, "m1")["Protected"], true);
    let shown = |verb: &str| home.run(["machine", verb, "--format", "{{.Protected}}"]).stdout();
    home.run(["machine", "default", "m1"]).exits(0);
    assert_eq!((shown("inspect"), shown("list")), ("true\n".into(), "true\n".into()));
    home.run(["machine", "unprotect", "m1"]).exits(0);
    home.run(["machine", "rm", "-f", "m1"]).exits(0);
}

/// As on the file systems of macOS and Windows; where capitals count, a second
/// name of the file stands in for one that takes them for small letters.
#[test]
fn capitals_lead_to_no_other_machine() {
    let home = Home::new();
    init(&home, "m1");
    home.run(["machine", "protect", "m1"]).exits(0);
    let file = |name: &str| home.path().join(format!("config/machine/{name}.json"));
    if !file("M1").exists() {
        fs::hard_link(file("m1"), file("M1")).unwrap();
        fs::create_dir(home.path().join("data/M1")).unwrap();
    }
    let meant = ["Error: M1: VM does not exist", "Did you mean \"m1\"?"];
    for verb in [&["rm", "-f"][..], &["inspect"], &["start"], &["set", "--cpus", "1"]] {
        home.run([&["machine"], verb, &["M1"]].concat()).exits(125).complains(&meant);
    }
    home.run(["machine", "init", "--image", "/dev/null", "M1"])
        .exits(125)
        .complains(&["machine \"M1\" already exists"]);
    assert!(overlay(&home, "m1").exists());
    assert_eq!(config(&home, "m1")["Protected"], true);
}

#[test]
fn a_removal_saves_what_it_is_told_to() {
    let home = Home::new();
    init(&home, "m1");
    let ignition = fs::read(home.path().join("config/machine/m1.ign")).unwrap();
    let disk = fs::read(overlay(&home, "m1")).unwrap();
    let ran = home.run(["machine", "rm", "-f", "--save-ignition", "--save-image", "m1"]).exits(0);
    let saved: Vec<String> = ran
        .stderr()
        .lines()
        .filter_map(|line| Some(line.strip_prefix("Saved \"")?.strip_suffix('"')?.to_owned()))
        .collect();
    assert_eq!(fs::read(&saved[0]).unwrap(), ignition);
    assert_eq!(fs::read(&saved[1]).unwrap(), disk);
    // A new machine of that name is not in their way, and the base stays.
    init(&home, "m1");
    home.run(["machine", "rm", "-f", "m1"]).exits(0);
    let left: Vec<PathBuf> = traces(&home, "m1");
    assert_eq!(left.len(), 2, "{left:?}");
    home.run(["image", "prune", "--all", "--force"]).exits(0);
    assert_ne!(home.run(["image", "list", "-q"]).exits(0).stdout(), "");
    // `set` knows no other machine than one that exists.
    home.run(["machine", "set", "--memory", "300", "m1"]).exits(125);
}

#[test]
fn a_start_in_the_background_returns_at_once() {
    let home = Home::new();
    init(&home, "m1");
    home.run(["machine", "start", "--no-wait", "--no-info", "--timeout", "300", "-q", "m1"])
        .exits(0)
        .prints("Machine \"m1\" is starting\n");
    let state = home.run(["machine", "inspect", "--format", "{{.State}}", "m1"]).exits(0);
    state.prints("starting\n");
    home.run(["machine", "rename", "m1", "m2"]).exits(125).complains(&["it is not stopped"]);
    home.run(["machine", "export", "m1", "/tmp/none"]).exits(125).complains(&["not stopped"]);
    home.run(["machine", "set", "--cpus", "1", "m1"]).exits(125).complains(&["it is running"]);
    home.run(["machine", "stop", "--force", "m1"]).exits(0);
}
