//! Renders the guest description as an Ignition config.
//!
//! Spec 3.3.0: the newest that Ignition 2.14 (Debian 13) reads, and Fedora
//! CoreOS reads it too. Only the part of the schema that we write is here.

use serde::Serialize;

use super::guest::{GROUPS, Guest, GuestFile, UNITS};

const SPEC: &str = "3.3.0";

/// The config as JSON text.
pub fn render(guest: &Guest) -> String {
    let config = Config {
        ignition: Ignition { version: SPEC },
        passwd: Passwd { users: users(guest) },
        storage: Storage { files: guest.files().into_iter().map(file).collect() },
        systemd: Systemd { units: units() },
    };
    serde_json::to_string_pretty(&config).expect("plain fields serialize")
}

fn users<'a>(guest: &Guest<'a>) -> Vec<User<'a>> {
    let keys = [guest.authorized_key];
    let root = User { name: "root", keys, groups: &[], shell: None };
    if guest.username == "root" {
        return vec![root];
    }
    let shell = Some("/bin/bash");
    vec![User { name: guest.username, keys, groups: &GROUPS, shell }, root]
}

fn file(file: GuestFile) -> File {
    File {
        path: file.path,
        overwrite: true,
        mode: file.mode,
        contents: Contents { source: data_url(&file.text) },
    }
}

fn units() -> Vec<Unit> {
    UNITS.iter().map(|u| Unit { name: u.name, enabled: true, contents: u.text }).collect()
}

/// RFC 2397; base64 keeps every byte whatever the reader's idea of escapes.
fn data_url(text: &str) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine};
    format!("data:;base64,{}", BASE64_STANDARD.encode(text))
}

#[derive(Serialize)]
struct Config<'a> {
    ignition: Ignition,
    passwd: Passwd<'a>,
    storage: Storage,
    systemd: Systemd,
}

#[derive(Serialize)]
struct Ignition {
    version: &'static str,
}

#[derive(Serialize)]
struct Passwd<'a> {
    users: Vec<User<'a>>,
}

#[derive(Serialize)]
struct User<'a> {
    name: &'a str,
    #[serde(rename = "sshAuthorizedKeys")]
    keys: [&'a str; 1],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<&'a str>,
}

#[derive(Serialize)]
struct Storage {
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    path: String,
    overwrite: bool,
    mode: u32,
    contents: Contents,
}

#[derive(Serialize)]
struct Contents {
    source: String,
}

#[derive(Serialize)]
struct Systemd {
    units: Vec<Unit>,
}

#[derive(Serialize)]
struct Unit {
    name: &'static str,
    enabled: bool,
    contents: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::keys::KeyPair;
    use serde_json::{Value, json};

    fn rendered(username: &str) -> Value {
        let host_key = KeyPair { private: "PRIVATE\n".into(), public: "ssh-ed25519 H".into() };
        let guest = Guest {
            hostname: "t1",
            username,
            authorized_key: "ssh-ed25519 U",
            host_key: &host_key,
        };
        serde_json::from_str(&render(&guest)).unwrap()
    }

    fn contents<'a>(config: &'a Value, path: &str) -> &'a Value {
        let files = config["storage"]["files"].as_array().unwrap();
        files.iter().find(|f| f["path"] == path).unwrap_or_else(|| panic!("no {path}"))
    }

    #[test]
    fn the_user_has_our_key_and_sudo() {
        let config = rendered("core");
        assert_eq!(config["ignition"], json!({ "version": "3.3.0" }));
        let user = &config["passwd"]["users"][0];
        assert_eq!(user["name"], "core");
        assert_eq!(user["sshAuthorizedKeys"], json!(["ssh-ed25519 U"]));
        assert_eq!(user["groups"], json!(["sudo", "wheel"]));
        assert_eq!(contents(&config, "/etc/subuid")["mode"], 0o644);
        assert_eq!(contents(&config, "/etc/sudoers.d/90-nsvm")["mode"], 0o440);
    }

    #[test]
    fn the_host_key_is_secret_and_whole() {
        let config = rendered("core");
        let key = contents(&config, "/etc/ssh/ssh_host_ed25519_key");
        assert_eq!(key["mode"], 0o600);
        assert_eq!(key["contents"]["source"], "data:;base64,UFJJVkFURQo=");
    }

    #[test]
    fn a_machine_of_root_names_root_once() {
        let config = rendered("root");
        assert_eq!(config["passwd"]["users"].as_array().unwrap().len(), 1);
    }
}
