//! `nsvm image ...` without a network: what is in the cache, who needs it, and
//! that nothing goes which is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;

use crate::common::{Home, Ran, shown};

/// A home, or several, with an image cache of the test's own.
struct World {
    home: Home,
    other: Home,
}

impl World {
    fn new() -> Self {
        Self { home: Home::new(), other: Home::new() }
    }

    fn cache(&self) -> PathBuf {
        self.home.path().join("shared images")
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_in(&self.home, args)
    }

    fn run_in(&self, home: &Home, args: &[&str]) -> Ran {
        let mut command = home.nsvm(args.iter().copied());
        Ran(command.env("NSVM_IMAGE_CACHE", self.cache()).output().unwrap())
    }

    /// A raw disk of a few sectors; its path.
    fn disk(&self, name: &str, byte: u8) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, vec![byte; 64 << 10]).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn import(&self, name: &str, byte: u8) {
        let disk = self.disk(&format!("{name}.raw"), byte);
        self.run(&["image", "import", "-q", "--name", name, &disk])
            .exits(0)
            .prints(&format!("{name}\n"));
    }

    fn init(&self, home: &Home, image: &str, machine: &str) {
        self.run_in(
            home,
            &["machine", "init", "-q", "--image", image, "--disk-size", "1", machine],
        )
        .exits(0);
    }

    /// Names and digest of what `image list` shows.
    fn listed(&self) -> Vec<(String, String)> {
        let list = self.run(&["image", "list", "--format", "json"]).exits(0).stdout();
        let list: Vec<Value> = serde_json::from_str(&list).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut listed: Vec<_> =
            list.iter().map(|image| (text(&image["Names"][0]), text(&image["SHA256"]))).collect();
        listed.sort();
        listed
    }

    fn names(&self) -> Vec<String> {
        self.listed().into_iter().map(|(name, _)| name).collect()
    }

    fn digest(&self, name: &str) -> String {
        self.listed().into_iter().find(|(found, _)| found == name).unwrap().1
    }
}

#[test]
fn an_empty_cache_has_nothing_to_show() {
    let world = World::new();
    world
        .run(&["image", "list"])
        .exits(0)
        .prints("SOURCE  RELEASE  ARCH  DIGEST  SIZE  VIRTUAL SIZE  CREATED  MACHINES\n");
    world.run(&["image", "ls", "-q"]).exits(0).prints("");
    world.run(&["image", "inspect"]).exits(0).prints("[]\n");
    world.run(&["image", "verify"]).exits(0).prints("");
    world.run(&["image", "prune"]).exits(0).complains(&["There is nothing to remove"]);
    for verb in ["rm", "inspect", "verify"] {
        world
            .run(&["image", verb, "debian"])
            .exits(125)
            .complains(&["no image \"debian\" in the cache", "`nsvm image list`"]);
    }
    world.run(&["image", "rm", "-f", "debian"]).exits(0);
}

#[test]
fn an_image_stays_as_long_as_a_machine_needs_it() {
    let world = World::new();
    world.import("mine", 1);
    world.init(&world.home, "mine", "work");
    let digest = world.digest("mine");
    let table = world.run(&["image", "list", "--noheading"]).exits(0).stdout();
    assert!(table.starts_with("mine ") && table.contains(&digest[..12]), "{table}");
    assert!(table.trim_end().ends_with('1'), "{table}");
    for text in ["mine", &digest, &digest[..8]] {
        world
            .run(&["image", "rm", text])
            .exits(125)
            .complains(&["image \"mine\" is in use by the machine \"work\"", "nsvm machine rm"]);
    }
    let inspected = world.run(&["image", "inspect", "mine"]).exits(0).stdout();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected[0]["Machines"][0]["Machine"], "work");
    assert_eq!(inspected[0]["Sources"][0]["PublishedSHA256"], digest);
    assert!(Path::new(inspected[0]["Path"]["Path"].as_str().unwrap()).is_file());

    world.run(&["machine", "rm", "-f", "work"]).exits(0);
    assert_eq!(world.names(), ["mine"], "`machine rm` never touches the cache");
    let deleted = format!("Deleted: {digest}\n");
    world.run(&["image", "rm", &digest[..8]]).exits(0).prints(&deleted);
    assert_eq!(world.names(), [""; 0]);
    world.run(&["machine", "init", "--image", "mine"]).exits(125).complains(&["no image \"mine\""]);
}

#[test]
fn machines_of_other_homes_count_as_long_as_their_disks_exist() {
    let world = World::new();
    world.import("mine", 1);
    world.init(&world.other, "mine", "theirs");
    let overlay = world.other.join("data/theirs/disk.qcow2");
    world
        .run(&["image", "rm", "mine"])
        .exits(125)
        .complains(&["\"theirs\"", overlay.to_str().unwrap()]);
    world.run(&["image", "prune", "--all", "--force"]).exits(0);
    assert_eq!(world.names(), ["mine"]);
    world.run_in(&world.other, &["machine", "inspect", "theirs"]).exits(0);

    world.run_in(&world.other, &["machine", "rm", "-f", "theirs"]).exits(0);
    world.run(&["image", "rm", "mine"]).exits(0);
}

#[test]
fn a_machine_that_cannot_be_read_may_need_any_image() {
    let world = World::new();
    world.import("mine", 1);
    let dir = world.home.path().join("config/machine");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("future.json"), "{\"Version\":77}").unwrap();
    let refused = world.run(&["image", "rm", "mine"]).exits(125);
    refused.complains(&["which machines need a base image", "future.json", "Hint: "]);
    world.run(&["image", "prune", "--all", "--force"]).exits(0).complains(&["future.json"]);
    assert_eq!(world.names(), ["mine"]);
    fs::remove_file(dir.join("future.json")).unwrap();
    world.run(&["image", "rm", "mine"]).exits(0);
}

#[test]
fn an_image_with_two_names_loses_one_of_them() {
    let world = World::new();
    world.import("one", 1);
    world.import("two", 1);
    assert_eq!(world.names().len(), 1);
    world.run(&["image", "rm", "one"]).exits(0).prints("Untagged: one\n").complains(&["two"]);
    world.run(&["machine", "init", "--image", "one"]).exits(125).complains(&["no image \"one\""]);
    world.init(&world.home, "two", "work");
}

#[test]
fn prune_asks_and_keeps_what_cannot_be_had_again() {
    let world = World::new();
    world.import("mine", 1);
    world.init(&world.home, "/dev/null", "work");
    let disk = world.disk("disk.raw", 2);
    world.run(&["image", "pull", "-q", &disk]).exits(0);
    let partial = world.cache().join("file-0.partial");
    fs::write(&partial, vec![1; 4096]).unwrap();
    let download = world.cache().join("download-0.download");
    fs::write(&download, vec![1; 4096]).unwrap();

    let asked = world.run(&["image", "prune"]).exits(125).prints("");
    asked.complains(&["file-0.partial", &disk, "Are you sure"]);
    assert_eq!(world.names().len(), 3);
    let pruned = world.run(&["image", "prune", "--force"]).exits(0);
    assert!(pruned.stdout().starts_with("Total reclaimed space: "), "{}", pruned.stdout());
    assert_eq!(world.names(), ["/dev/null", "mine"]);
    assert!(!partial.exists() && download.exists());
    world.run(&["image", "prune", "--all", "--force"]).exits(0);
    assert_eq!(world.names(), ["/dev/null"]);
    assert!(!download.exists());
    world.run(&["machine", "rm", "-f", "work"]).exits(0);
}

#[test]
fn a_changed_byte_is_found_and_named() {
    let world = World::new();
    world.import("good", 1);
    world.import("bad", 2);
    let digest = world.digest("bad");
    let path = world.cache().join(format!("{digest}.raw"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[4711] ^= 1;
    // Its file is read-only, which does not stop root and bad disks.
    nsvm::host::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let verdict = world.run(&["image", "verify"]).exits(125);
    assert!(verdict.stdout().ends_with(" good\n"), "{}", verdict.stdout());
    let replace = format!("`nsvm image rm {}`", &digest[..12]);
    verdict.complains(&["is damaged: its SHA-256 is ", &digest, &replace]);
    world.run(&["image", "verify", "-q", "good"]).exits(0).prints("");
    world.init(&world.home, "bad", "work");
    world
        .run(&["image", "verify", "bad"])
        .exits(125)
        .complains(&["Put the original back: \"work\""]);
}

#[test]
fn an_import_has_a_name_of_its_own() {
    let world = World::new();
    world.import("mine", 1);
    let disk = world.disk("My Disk.RAW", 2);
    for (name, reason) in [
        ("debian", "an image of the catalog has it"),
        ("mine", "an imported image has it"),
        ("a:b", "it is made of a-z"),
        ("../x", "it is made of a-z"),
    ] {
        let refused = world.run(&["image", "import", "--name", name, &disk]).exits(125);
        refused.complains(&[&format!("cannot name an image \"{name}\": {reason}"), "--name"]);
    }
    let wrong = "0".repeat(64);
    world.run(&["image", "import", "--sha256", &wrong, &disk]).exits(125).complains(&["digest"]);
    world.run(&["image", "import", "-q", &disk]).exits(0).prints("my-disk\n");
    assert_eq!(world.names(), ["mine", "my-disk"]);
    world.run(&["image", "import", "/no/such"]).exits(125).complains(&[&shown("/no/such")]);
}

#[test]
fn search_shows_what_has_a_name_and_what_is_here() {
    let world = World::new();
    world.import("mine", 1);
    let all = world.run(&["image", "search"]).exits(0).stdout();
    for name in ["fedora-coreos ", "debian ", "ubuntu ", "opensuse ", "debian-local ", "mine "] {
        assert!(all.lines().any(|line| line.starts_with(name)), "no {name}in\n{all}");
    }
    let found = world.run(&["image", "search", "--format", "json", "mine"]).exits(0).stdout();
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&found[0]["Name"], &found[0]["Cached"][0]), (&"mine".into(), &"mine".into()));
    world.run(&["image", "search", "-n", "no such thing"]).exits(0).prints("");
}

#[test]
fn init_and_prune_at_once_leave_no_machine_without_its_base() {
    let world = World::new();
    let disks: Vec<String> = (0..3).map(|i| world.disk(&format!("{i}.raw"), i)).collect();
    thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            for _ in 0..15 {
                // What gets a user meanwhile is refused, which is an exit of 125.
                world.run(&["image", "prune", "--force"]);
            }
        });
        for (i, disk) in disks.iter().enumerate() {
            let world = &world;
            scope.spawn(move || {
                for j in 0..3 {
                    let name = format!("m{i}{j}");
                    let args =
                        ["machine", "init", "-q", "--image", disk, "--disk-size", "1", &name];
                    let ran = world.run(&args);
                    if ran.code() != 0 {
                        ran.exits(125).complains(&["was removed from the cache again and again"]);
                    }
                }
            });
        }
        pruning.join().unwrap();
    });
    let made = world.run(&["machine", "list", "-q"]).exits(0).stdout();
    assert!(!made.is_empty(), "nothing was tested");
    for name in made.lines() {
        let inspected = world.run(&["machine", "inspect", name]).exits(0).stdout();
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        let base = inspected[0]["Image"]["BasePath"]["Path"].as_str().unwrap();
        assert!(Path::new(base).is_file(), "{name} has lost {base}");
    }
}

#[test]
fn templates_are_listed_and_removed() {
    let world = World::new();
    let list = ["image", "template", "list"];
    let header = "DIGEST  IMAGE  USER  CPUS  MEMORY  DISK SIZE  CREATED  SIZE  UNUSABLE\n";
    world.run(&list).exits(0).prints(header);
    let dir = world.cache().join("templates");
    fs::create_dir_all(dir.join("00bb")).unwrap();
    fs::write(dir.join("00bb/template.json"), "{").unwrap();
    fs::write(dir.join("00aa.refused"), "no sshd").unwrap();
    fs::write(dir.join("note.txt"), "").unwrap();
    let json = world.run(&[&list[..], &["--format", "json"]].concat()).exits(0).stdout();
    let all: Vec<Value> = serde_json::from_str(&json).unwrap();
    let digests: Vec<_> = all.iter().map(|one| one["Digest"].as_str().unwrap()).collect();
    assert_eq!(digests, ["00aa", "00bb"]);
    assert_eq!(all[0]["Unusable"], "no sshd");
    assert!(all[1]["Unusable"].as_str().unwrap().contains("EOF"), "{json}");

    let rm = |text: &str| world.run(&["image", "template", "rm", text]);
    rm("1").exits(125).complains(&["there is no template \"1\"", "image template list"]);
    rm("00").exits(125).complains(&["several templates begin with \"00\"", "more of its digits"]);
    rm("00a").exits(0).prints("Deleted: 00aa\n");
    world.run(&["image", "template", "rm", "--all"]).exits(0).prints("Deleted: 00bb\n");
    world.run(&["image", "template", "ls", "-q"]).exits(0).prints("");
    assert!(dir.join("note.txt").exists());
}
