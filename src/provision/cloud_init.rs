//! Renders the guest description for cloud-init: the three files of a NoCloud
//! seed.
//!
//! The cloud-config is JSON, which is YAML too. A user's own file becomes a
//! part before ours: ours then fills in what theirs leaves open and puts its
//! list items before theirs, so that in a conflict theirs holds, as it does
//! with `ignition.config.merge`.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use super::guest::{ENVIRONMENT, GROUPS, Guest, GuestFile, SHELL};
use crate::machine::config::GUEST_MAC;

/// The files of a seed (cloud-init's datasource NoCloud).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFiles {
    pub meta_data: String,
    pub user_data: String,
    pub network_config: String,
}

/// What a file for `--cloud-init` may begin with, from cloud-init's "user data
/// formats"; a MIME archive is ours to make.
const HEADERS: [&str; 8] = [
    "#cloud-config",
    "#cloud-config-archive",
    "#cloud-config-jsonp",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
];

/// Why a user's file cannot be handed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserDataError {
    #[error("it is not text in UTF-8")]
    NotText,
    #[error("its first line is none that cloud-init knows")]
    Header,
}

impl UserDataError {
    pub fn hint(&self) -> String {
        "Begin the file with the line #cloud-config, or with #! for a script".to_owned()
    }
}

/// The file's text, if it is one part of user data.
pub fn check(file: &[u8]) -> Result<&str, UserDataError> {
    let text = std::str::from_utf8(file).map_err(|_| UserDataError::NotText)?;
    if HEADERS.iter().any(|header| text.starts_with(header)) {
        Ok(text)
    } else {
        Err(UserDataError::Header)
    }
}

/// The seed; `machine` tells it from every other machine's, so that a copied
/// disk is provisioned anew.
pub fn render(guest: &Guest, machine: &str, user_part: Option<&str>) -> SeedFiles {
    let meta = json!({ "instance-id": machine, "local-hostname": guest.hostname });
    let ours = cloud_config(guest);
    SeedFiles {
        meta_data: lines(&meta),
        user_data: match user_part {
            Some(theirs) => archive(machine, theirs, &ours),
            None => ours,
        },
        network_config: lines(&network()),
    }
}

/// The one card asks by DHCP. Matched by address because names differ.
fn network() -> Value {
    json!({
        "version": 2,
        "ethernets": { "eth0": {
            "match": { "macaddress": GUEST_MAC },
            "set-name": "eth0",
            "dhcp4": true,
        } },
    })
}

fn cloud_config(guest: &Guest) -> String {
    let config = json!({
        "merge_how": "dict(no_replace,recurse_list)+list(prepend)+str()",
        "hostname": guest.hostname,
        "timezone": guest.time_zone,
        "users": users(guest),
        "disable_root": false,
        "ssh_pwauth": false,
        "ssh_deletekeys": true,
        "ssh_keys": {
            "ed25519_private": guest.host_key.private,
            "ed25519_public": guest.host_key.public,
        },
        "growpart": { "mode": "auto", "devices": ["/"] },
        "resize_rootfs": true,
        // Before sshd lets anybody in: a user's own systemd instance takes the
        // environment over when it starts. Later boots have the unit.
        "bootcmd": [["cloud-init-per", "instance", "nsvm-environment", "sh", "-c", ENVIRONMENT]],
        "write_files": files(guest),
        "runcmd": commands(guest),
    });
    format!("#cloud-config\n{}", lines(&config))
}

fn users(guest: &Guest) -> Vec<Value> {
    let keys = [guest.authorized_key];
    let root = json!({ "name": "root", "lock_passwd": true, "ssh_authorized_keys": keys });
    if guest.username == "root" {
        return vec![root];
    }
    let mut user = json!({
        "name": guest.username,
        "groups": GROUPS,
        "shell": SHELL,
        "lock_passwd": true,
        "ssh_authorized_keys": keys,
    });
    if let Some(uid) = guest.uid {
        user["uid"] = uid.into();
    }
    vec![user, root]
}

fn files(guest: &Guest) -> Vec<Value> {
    let units = guest.units().into_iter().map(|unit| GuestFile {
        path: format!("/etc/systemd/system/{}", unit.name),
        mode: 0o644,
        text: unit.text.to_owned(),
    });
    let file = |file: GuestFile| {
        json!({
            "path": file.path,
            "permissions": format!("{:04o}", file.mode),
            "encoding": "b64",
            "content": BASE64_STANDARD.encode(file.text),
        })
    };
    guest.files().into_iter().chain(units).map(file).collect()
}

/// systemd was up before the files came and is told of them, once: on an
/// emulated CPU each reload takes seconds. Starts are awaited, so that the unit
/// that tells the host tells the truth.
fn commands<'a>(guest: &Guest<'a>) -> Vec<Vec<&'a str>> {
    let units: Vec<&'static str> = guest.units().iter().map(|unit| unit.name).collect();
    let systemctl = |verb, units: &[&'static str]| [&["systemctl", verb][..], units].concat();
    vec![
        systemctl("enable", &units),
        systemctl("restart", &["systemd-sysctl.service"]),
        vec!["loginctl", "enable-linger", guest.username],
        systemctl("start", &units),
    ]
}

/// RFC 2046. cloud-init finds out the kind of a part of text/plain by itself.
fn archive(machine: &str, theirs: &str, ours: &str) -> String {
    let boundary = format!("nsvm-{machine}");
    let part = |name: &str, text: &str| {
        format!(
            "--{boundary}\nContent-Type: text/plain; charset=\"utf-8\"\nMIME-Version: 1.0\n\
             Content-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; filename=\"{name}\"\n\n{}\n",
            wrapped(text)
        )
    };
    format!(
        "Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n{}{}--{boundary}--\n",
        part("user", theirs),
        part("nsvm", ours)
    )
}

/// Base64 in lines of 76, the most that RFC 2045 allows.
fn wrapped(text: &str) -> String {
    let encoded = BASE64_STANDARD.encode(text);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(76).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    lines.join("\n")
}

fn lines(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::guest::with_all;

    const UUID: &str = "2f9c4f0a-1c5e-4d0e-9a53-3b2f6b1d8c11";

    fn rendered(username: &str) -> Value {
        let seed = with_all(username, |guest| render(guest, UUID, None));
        let json = seed.user_data.strip_prefix("#cloud-config\n").unwrap();
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn each_machine_is_an_instance_of_its_own() {
        let seed = with_all("core", |guest| render(guest, UUID, None));
        let meta: Value = serde_json::from_str(&seed.meta_data).unwrap();
        assert_eq!(meta, json!({ "instance-id": UUID, "local-hostname": "t1" }));
        let network: Value = serde_json::from_str(&seed.network_config).unwrap();
        assert_eq!(network["ethernets"]["eth0"]["match"]["macaddress"], GUEST_MAC);
    }

    #[test]
    fn the_description_is_there_whole() {
        let config = rendered("core");
        assert_eq!(config["timezone"], "Asia/Kathmandu");
        assert_eq!(config["users"][0]["ssh_authorized_keys"], json!(["ssh-ed25519 U"]));
        assert_eq!(config["users"][0]["uid"], 1234);
        assert_eq!(config["users"][0]["groups"], json!(["sudo", "wheel"]));
        assert_eq!(config["ssh_keys"]["ed25519_private"], "PRIVATE\n");
        assert_eq!(config["ssh_deletekeys"], true);
        let file = |path: &str| {
            let files = config["write_files"].as_array().unwrap();
            files.iter().find(|f| f["path"] == path).unwrap_or_else(|| panic!("no {path}")).clone()
        };
        assert_eq!(file("/etc/sudoers.d/90-nsvm")["permissions"], "0440");
        assert_eq!(file("/etc/nsvm/ca/1.crt")["content"], "UEVNIDEK");
        file("/etc/systemd/system/nsvm-trust.service");
        assert_eq!(rendered("root")["users"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_host_is_told_last() {
        let commands = rendered("core")["runcmd"].as_array().unwrap().clone();
        assert_eq!(commands[0].as_array().unwrap().len(), 2 + 5);
        assert_eq!(commands[2], json!(["loginctl", "enable-linger", "core"]));
        let started = commands[3].as_array().unwrap();
        assert_eq!(started.last().unwrap(), "nsvm-ready.service");
        // One job list: the unit itself says what it waits for.
        with_all("core", |guest| {
            let ready = guest.units().pop().unwrap().text;
            for unit in &started[2..started.len() - 1] {
                assert!(ready.contains(unit.as_str().unwrap()), "{unit}");
            }
        });
    }

    #[test]
    fn the_users_part_comes_before_ours_and_keeps_every_byte() {
        let theirs = "#cloud-config\nruncmd: [\"echo ü\"]\n".repeat(9);
        let seed = with_all("core", |guest| render(guest, UUID, Some(&theirs)));
        let parts: Vec<&str> = seed.user_data.split(&format!("--nsvm-{UUID}\n")).collect();
        assert_eq!(parts.len(), 3, "{}", seed.user_data);
        let body: String = parts[1].split("\n\n").nth(1).unwrap().split_whitespace().collect();
        assert_eq!(BASE64_STANDARD.decode(body).unwrap(), theirs.as_bytes());
        assert!(seed.user_data.ends_with(&format!("--nsvm-{UUID}--\n")));
        assert!(seed.user_data.lines().all(|line| line.len() <= 100));
    }

    #[test]
    fn only_what_cloud_init_understands_is_taken() {
        assert!(check(b"#cloud-config\nhostname: x\n").is_ok());
        assert!(check(b"#!/bin/sh\n").is_ok());
        assert_eq!(check(b"hostname: x\n"), Err(UserDataError::Header));
        assert_eq!(check(b"\x1f\x8b"), Err(UserDataError::NotText));
    }
}
