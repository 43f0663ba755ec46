//! The files that say who a guest is and who may enter it. They are changed in
//! place: owner, mode and label stay.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::protocol::frozen::Owner;

const HOST_KEY: &str = "etc/ssh/ssh_host_ed25519_key";

/// Where homes are, Fedora CoreOS' too.
const HOMES: [&str; 2] = ["home", "var/home"];
const ROOTS: [&str; 2] = ["root", "var/roothome"];

/// Where keys are in a home: Ignition has a file of its own.
const KEYS: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys.d/ignition"];

/// What no other machine may have: the config that Ignition was given, with its keys,
/// and random bytes of this boot.
const SECRETS: [&str; 4] = [
    "run/ignition.json",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/NetworkManager/secret_key",
];

#[derive(Debug)]
pub struct Identity {
    root: PathBuf,
    /// The files that let the present user in.
    keys: Vec<PathBuf>,
    /// Their key, `ssh-ed25519 AAAA...` without the comment.
    key: String,
}

impl Identity {
    /// Finds the files below `root` that let the owner of `user_key` in.
    pub fn find(root: &Path, user_key: &str) -> io::Result<Self> {
        let key = user_key.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        let in_dir = |dir: &str| fs::read_dir(root.join(dir)).into_iter().flatten().flatten();
        let homes = HOMES.into_iter().flat_map(in_dir).map(|entry| entry.path());
        let homes: Vec<PathBuf> =
            ROOTS.into_iter().map(|dir| root.join(dir)).chain(homes).collect();
        let files = homes.iter().flat_map(|home| KEYS.map(|file| home.join(file)));
        let has_key = |file: &PathBuf| {
            fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| is(line, &key)))
        };
        let keys: Vec<PathBuf> = files.filter(has_key).collect();
        if key.is_empty() || keys.is_empty() {
            return Err(io::Error::other("that key lets nobody into this guest"));
        }
        Ok(Self { root: root.to_owned(), keys, key })
    }

    /// From now on nobody can enter, and what was secret is gone.
    pub fn forget(&self) -> io::Result<()> {
        for file in &self.keys {
            let text = fs::read_to_string(file)?;
            let others = text.lines().filter(|line| !is(line, &self.key));
            let others: String = others.flat_map(|line| [line, "\n"]).collect();
            fs::write(file, others)?;
        }
        File::create(self.root.join(HOST_KEY))?;
        let secrets = SECRETS.into_iter().map(|secret| self.root.join(secret));
        for file in secrets.chain(self.other_host_keys()) {
            match fs::remove_file(file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Those that a distribution makes by itself, and sshd does not show here.
    fn other_host_keys(&self) -> impl Iterator<Item = PathBuf> {
        let own = self.root.join(HOST_KEY);
        let entries = fs::read_dir(self.root.join("etc/ssh")).into_iter().flatten().flatten();
        let is_key = |entry: &fs::DirEntry| {
            entry.file_name().to_str().is_some_and(|name| name.starts_with("ssh_host_"))
        };
        let paths = entries.filter(is_key).map(|entry| entry.path());
        paths.filter(move |path| path.with_extension("") != own)
    }

    /// The guest is this owner's.
    pub fn become_owners(&self, owner: &Owner) -> io::Result<()> {
        let at = |path: &str| self.root.join(path);
        for file in &self.keys {
            writeln!(OpenOptions::new().append(true).open(file)?, "{}", owner.user_key)?;
        }
        fs::write(at(HOST_KEY), &owner.host_key)?;
        fs::write(at(&format!("{HOST_KEY}.pub")), format!("{}\n", owner.host_key_public))?;
        fs::write(at("etc/machine-id"), format!("{}\n", owner.machine_id))?;
        fs::write(at("etc/hostname"), format!("{}\n", owner.host_name))?;
        self.set_time_zone(&owner.time_zone)
    }

    /// localtime(5); Debian keeps the name beside the link.
    fn set_time_zone(&self, name: &str) -> io::Result<()> {
        let (link, new) = (self.root.join("etc/localtime"), self.root.join("etc/localtime.new"));
        let beside = self.root.join("etc/timezone");
        let _ = fs::remove_file(&new);
        symlink(format!("../usr/share/zoneinfo/{name}"), &new)?;
        fs::rename(new, link)?;
        if beside.exists() { fs::write(beside, format!("{name}\n")) } else { Ok(()) }
    }
}

/// Whether a line of a file of keys is about this key. Options may be before
/// it, a comment behind it.
fn is(line: &str, key: &str) -> bool {
    line.split_once(key).is_some_and(|(before, behind)| {
        (before.is_empty() || before.ends_with([' ', '\t']))
            && (behind.is_empty() || behind.starts_with([' ', '\t']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn guest(files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("nsvm-frozen-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_guest_forgets_and_becomes_somebody_elses() {
        let keys = "home/core/.ssh/authorized_keys.d/ignition";
        let root = guest(&[
            (keys, "ssh-rsa MINE me\nssh-ed25519 OLD nsvm t\n"),
            ("root/.ssh/authorized_keys", "restrict ssh-ed25519 OLD"),
            ("home/other/.ssh/authorized_keys", "ssh-ed25519 OLDER x\n"),
            (HOST_KEY, "SECRET"),
            ("etc/ssh/ssh_host_rsa_key", "SECRET"),
            ("etc/ssh/ssh_host_rsa_key.pub", "ssh-rsa R"),
            ("etc/ssh/sshd_config", "UsePAM yes"),
            ("etc/hostname", "t\n"),
            ("etc/timezone", "Etc/UTC\n"),
            ("run/ignition.json", "SECRET"),
            ("var/lib/systemd/random-seed", "SECRET"),
            ("var/lib/systemd/credential.secret", "SECRET"),
            ("var/lib/NetworkManager/secret_key", "SECRET"),
        ]);
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(root.join(HOST_KEY), private).unwrap();

        let identity = Identity::find(&root, "ssh-ed25519 OLD nsvm t").unwrap();
        identity.forget().unwrap();
        assert_eq!(read(keys), "ssh-rsa MINE me\n");
        assert_eq!(read("root/.ssh/authorized_keys"), "");
        assert_eq!(read("home/other/.ssh/authorized_keys"), "ssh-ed25519 OLDER x\n");
        assert_eq!(read(HOST_KEY), "");
        for gone in [
            "run/ignition.json",
            "var/lib/systemd/random-seed",
            "var/lib/systemd/credential.secret",
            "var/lib/NetworkManager/secret_key",
            "etc/ssh/ssh_host_rsa_key",
        ] {
            assert!(!root.join(gone).exists(), "{gone}");
        }
        assert_eq!(read("etc/ssh/sshd_config"), "UsePAM yes");

        identity
            .become_owners(&Owner {
                now: 0,
                seed: Vec::new(),
                host_name: "a".into(),
                machine_id: "00ff".into(),
                time_zone: "Europe/Berlin".into(),
                host_key: "PRIVATE\n".into(),
                host_key_public: "ssh-ed25519 H a".into(),
                user_key: "ssh-ed25519 NEW nsvm a".into(),
            })
            .unwrap();
        assert_eq!(read(keys), "ssh-rsa MINE me\nssh-ed25519 NEW nsvm a\n");
        assert_eq!(read("root/.ssh/authorized_keys"), "ssh-ed25519 NEW nsvm a\n");
        assert_eq!(read(HOST_KEY), "PRIVATE\n");
        let mode = fs::metadata(root.join(HOST_KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read("etc/machine-id"), "00ff\n");
        assert_eq!(
            (read("etc/hostname"), read("etc/timezone")),
            ("a\n".into(), "Europe/Berlin\n".into())
        );
        let zone = fs::read_link(root.join("etc/localtime")).unwrap();
        assert_eq!(zone, Path::new("../usr/share/zoneinfo/Europe/Berlin"));
        // Its keys are in no file any more.
        assert!(Identity::find(&root, "ssh-ed25519 OLD").is_err());
        fs::remove_dir_all(root).unwrap();
    }
}
