//! Archives that a stranger made: nothing in one becomes a path, or a file that
//! programs of this host believe.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::common::Home;

/// The files of an archive but for its manifest, which is made anew.
struct Files(Vec<(String, Vec<u8>)>);

impl Files {
    fn of(archive: &Path) -> Self {
        let decoder = zstd::Decoder::new(File::open(archive).unwrap()).unwrap();
        let mut files = Vec::new();
        for entry in tar::Archive::new(decoder).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.push((name, bytes));
        }
        files.retain(|(name, _)| name != "manifest.json");
        Self(files)
    }

    fn with(&self, name: &str, bytes: &[u8]) -> Self {
        let mut files = self.0.clone();
        files.retain(|(known, _)| known != name);
        files.push((name.to_owned(), bytes.to_owned()));
        Self(files)
    }

    /// With the config that `change` makes of it.
    fn changed(&self, change: impl FnOnce(&mut Value)) -> Self {
        let (_, bytes) = self.0.iter().find(|(name, _)| name == "config.json").unwrap();
        let mut config = serde_json::from_slice(bytes).unwrap();
        change(&mut config);
        self.with("config.json", config.to_string().as_bytes())
    }

    /// Digests and all, as nsvm itself writes it.
    fn write(&self, archive: &Path) {
        let entry = |(name, bytes): &(String, Vec<u8>)| {
            let digest: Vec<_> = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
            json!({ "Name": name, "Size": bytes.len(), "SHA256": digest.concat() })
        };
        let files: Vec<_> = self.0.iter().map(entry).collect();
        let manifest = json!({ "Format": "nsvm-machine", "Version": 1, "Files": files });
        let encoder = zstd::Encoder::new(File::create(archive).unwrap(), 1).unwrap();
        let mut tar = tar::Builder::new(encoder);
        let manifest = ("manifest.json".to_owned(), manifest.to_string().into_bytes());
        for (name, bytes) in self.0.iter().chain([&manifest]) {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
    }
}

/// A machine's own archive, and a home that has never seen it.
fn exported() -> (Home, PathBuf, Files) {
    let home = Home::new();
    let image = home.path().join("disk.raw");
    fs::write(&image, b"nsvm".repeat(256_000)).unwrap();
    let init = ["machine", "init", "-q", "--disk-size", "1", "--memory", "256", "--cpus", "1"];
    home.run(init.into_iter().chain(["--image", image.to_str().unwrap(), "m1"])).exits(0);
    let archive = home.path().join("m1.nsvm");
    home.run(["machine", "export", "m1", archive.to_str().unwrap()]).exits(0);
    let files = Files::of(&archive);
    home.run(["machine", "rm", "-f", "m1"]).exits(0);
    (home, archive, files)
}

#[test]
fn what_would_lead_out_of_it_is_refused() {
    let (home, archive, files) = exported();
    let path = archive.to_str().unwrap();
    let base =
        |digest: &'static str| files.changed(|config| config["Image"]["Sha256"] = digest.into());
    let user = |name: &'static str| files.changed(|config| config["Ssh"]["Username"] = name.into());
    for (wrong, why) in [
        // A disk of this host that the guest would read.
        (base("../../../../../../../../etc/disk"), "is no SHA-256"),
        (base(""), "is no SHA-256"),
        // Lines of ssh's config, words of a shell.
        (user("core\n  ProxyCommand touch /tmp/x"), "cannot be the name of a user"),
        (user("$(id)"), "cannot be the name of a user"),
        (files.with("data/C:x", b""), "was not written by nsvm"),
        (files.with("data/a b", b""), "was not written by nsvm"),
        (files.with("data/sub/x", b""), "was not written by nsvm"),
        (files.with("elsewhere", b""), "was not written by nsvm"),
    ] {
        wrong.write(&archive);
        home.run(["machine", "import", path]).exits(125).complains(&[
            "cannot be imported",
            why,
            "Hint: ",
        ]);
        home.run(["machine", "list", "-q"]).exits(0).prints("");
    }
    files.write(&archive);
    home.run(["machine", "import", path]).exits(0);
}

#[test]
fn only_the_machine_itself_is_taken_over() {
    let (home, archive, files) = exported();
    // What ssh includes, what a start would make again, a memory to run.
    let wrong =
        ["ssh.config", "connections.json", "suspended.json", "suspended.ram", "known_hosts"];
    let more = wrong.iter().fold(files, |files, name| {
        files.with(&format!("data/{name}"), br#"{"Podman":true,"Docker":true}"#)
    });
    more.write(&archive);
    home.run(["machine", "import", archive.to_str().unwrap()]).exits(0);
    let dir = home.path().join("data/m1");
    for name in wrong {
        assert!(!dir.join(name).exists(), "{name}");
    }
    for name in ["disk.qcow2", "id_ed25519", "id_ed25519.pub", "history.json"] {
        assert!(dir.join(name).exists(), "{name}");
    }
    let state = home.run(["machine", "inspect", "--format", "{{.State}}", "m1"]).exits(0);
    state.prints("stopped\n");
}
