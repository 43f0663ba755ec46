//! Renders the guest description as an Ignition config.
//!
//! Spec 3.3.0: the newest that Ignition 2.14 (Debian 13) reads, and Fedora
//! CoreOS reads it too. Only the part of the schema that we write is here.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Serialize;

use super::guest::{GROUPS, Guest, GuestFile, GuestUnit, SHELL};

const SPEC: &str = "3.3.0";

/// Why a user's config cannot be merged with ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error("it is not JSON ({0})")]
    NotJson(String),
    #[error("it has no ignition.version")]
    NoVersion,
    #[error("its ignition.version is \"{0}\", and only 3.0.0 to {SPEC} can be merged")]
    Version(String),
}

impl MergeError {
    pub fn hint(&self) -> String {
        match self {
            Self::NotJson(_) => "Turn a Butane file (YAML) into Ignition's JSON with `butane FILE`",
            Self::NoVersion | Self::Version(_) => {
                "Set \"ignition\": { \"version\": \"3.3.0\" } in the file"
            }
        }
        .to_owned()
    }
}

/// The user's config, if Ignition will take it as a child of ours.
pub fn check(file: &[u8]) -> Result<&[u8], MergeError> {
    let config: serde_json::Value =
        serde_json::from_slice(file).map_err(|e| MergeError::NotJson(e.to_string()))?;
    let version = config["ignition"]["version"].as_str().ok_or(MergeError::NoVersion)?;
    match version {
        "3.0.0" | "3.1.0" | "3.2.0" | SPEC => Ok(file),
        other => Err(MergeError::Version(other.to_owned())),
    }
}

/// The names of the systemd units in a user's config; none where it cannot be read.
pub fn units(file: &[u8]) -> Vec<String> {
    let config: serde_json::Value = serde_json::from_slice(file).unwrap_or_default();
    let units = config["systemd"]["units"].as_array().map_or(&[][..], Vec::as_slice);
    let name = |unit: &serde_json::Value| unit["name"].as_str().unwrap_or("without a name").into();
    units.iter().map(name).collect()
}

/// The config as JSON text. What `merged`, the user's own config, says too
/// replaces what ours says (`ignition.config.merge`).
pub fn render(guest: &Guest, merged: Option<&[u8]>) -> String {
    let merge = merged.map(|bytes| vec![Contents { source: data_url(bytes) }]);
    let config = Config {
        ignition: Ignition { version: SPEC, config: merge.map(|merge| Sources { merge }) },
        passwd: Passwd { users: users(guest) },
        storage: Storage { files: files(guest), links: [time_zone(guest)] },
        systemd: Systemd { units: guest.units().into_iter().map(unit).collect() },
    };
    serde_json::to_string_pretty(&config).expect("plain fields serialize")
}

fn users<'a>(guest: &Guest<'a>) -> Vec<User<'a>> {
    let keys = [guest.authorized_key];
    let root = User { name: "root", uid: None, keys, groups: &[], shell: None };
    if guest.username == "root" {
        return vec![root];
    }
    let shell = Some(SHELL);
    vec![User { name: guest.username, uid: guest.uid, keys, groups: &GROUPS, shell }, root]
}

/// Those that cloud-init has words or commands for come first.
fn files(guest: &Guest) -> Vec<File> {
    let key = "/etc/ssh/ssh_host_ed25519_key";
    // loginctl enable-linger writes just this file (logind.conf(5)).
    let linger = format!("/var/lib/systemd/linger/{}", guest.username);
    [
        file(key, 0o600, &guest.host_key.private),
        file(&format!("{key}.pub"), 0o644, &format!("{}\n", guest.host_key.public)),
        file(&linger, 0o644, ""),
        file("/etc/hostname", 0o644, &format!("{}\n", guest.hostname)),
        // Debian keeps the name beside the link.
        file("/etc/timezone", 0o644, &format!("{}\n", guest.time_zone)),
    ]
    .into_iter()
    .chain(guest.files().into_iter().map(|GuestFile { path, mode, text }| file(&path, mode, &text)))
    .collect()
}

fn file(path: &str, mode: u32, text: &str) -> File {
    let contents = Contents { source: data_url(text.as_bytes()) };
    File { path: path.to_owned(), overwrite: true, mode, contents }
}

/// localtime(5).
fn time_zone(guest: &Guest) -> Link {
    let target = format!("../usr/share/zoneinfo/{}", guest.time_zone);
    Link { path: "/etc/localtime", overwrite: true, target, hard: false }
}

fn unit(unit: GuestUnit) -> Unit {
    Unit { name: unit.name, enabled: true, contents: unit.text }
}

/// RFC 2397; base64 keeps every byte whatever the reader's idea of escapes.
fn data_url(bytes: &[u8]) -> String {
    format!("data:;base64,{}", BASE64_STANDARD.encode(bytes))
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
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Sources>,
}

#[derive(Serialize)]
struct Sources {
    merge: Vec<Contents>,
}

#[derive(Serialize)]
struct Passwd<'a> {
    users: Vec<User<'a>>,
}

#[derive(Serialize)]
struct User<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
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
    links: [Link; 1],
}

#[derive(Serialize)]
struct Link {
    path: &'static str,
    overwrite: bool,
    target: String,
    hard: bool,
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
    use crate::provision::guest::with_all;
    use serde_json::{Value, json};

    fn rendered(username: &str) -> Value {
        let text = with_all(username, |guest| render(guest, None));
        serde_json::from_str(&text).unwrap()
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

    /// What other programs make of it: the types are Fedora CoreOS' own.
    fn parsed(text: &str) -> ignition_config::v3_3::Config {
        match ignition_config::Config::parse_str(text).unwrap() {
            (ignition_config::Config::V3_3(config), warnings) if warnings.is_empty() => config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_is_a_config_of_spec_3_3() {
        let text = with_all("core", |guest| render(guest, None));
        let config = parsed(&text);
        let storage = config.storage.unwrap();
        let link = &storage.links.unwrap()[0];
        assert_eq!(link.path, "/etc/localtime");
        assert_eq!(link.target.as_deref(), Some("../usr/share/zoneinfo/Asia/Kathmandu"));
        let files = storage.files.unwrap();
        assert!(files.iter().any(|file| file.path == "/etc/nsvm/ca/1.crt"));
        let units = config.systemd.unwrap().units.unwrap();
        assert!(units.iter().all(|unit| unit.enabled == Some(true)));
        let names: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
        assert!(names.contains(&"nsvm-swap.service") && names.contains(&"nsvm-trust.service"));
    }

    #[test]
    fn the_users_config_is_merged_byte_for_byte() {
        let theirs = br#" { "ignition" : { "version": "3.1.0" } } "#;
        let text = with_all("core", |guest| render(guest, Some(check(theirs).unwrap())));
        let merge = parsed(&text).ignition.config.unwrap().merge.unwrap();
        let source = merge[0].source.as_deref().unwrap();
        let body = source.strip_prefix("data:;base64,").unwrap();
        assert_eq!(BASE64_STANDARD.decode(body).unwrap(), theirs);
    }

    #[test]
    fn what_ignition_would_refuse_is_refused_now() {
        let refused = |text: &[u8]| check(text).unwrap_err();
        assert!(matches!(refused(b"variant: fcos\n"), MergeError::NotJson(_)));
        assert_eq!(refused(b"{}"), MergeError::NoVersion);
        for version in ["2.2.0", "3.4.0", "3.3.0-experimental"] {
            let text = json!({ "ignition": { "version": version } }).to_string();
            let error = refused(text.as_bytes());
            assert_eq!(error, MergeError::Version(version.to_owned()));
            assert!(error.to_string().contains("3.0.0 to 3.3.0"), "{error}");
        }
    }
}
