//! podman's connections: two a machine, as `podman machine` makes them, NAME for
//! the user's containers and NAME-root for root's. In podman's file since 5.0,
//! `podman-connections.json`, where they can be those of a machine: what
//! `podman system connection add` makes is not, and its host key is looked for in
//! ~/.ssh/known_hosts, where that of an earlier machine with the same port may be.
//! An older podman is asked to make them (podman-system-connection-add(1)).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::{AsDefault, Program, Route, output, taken};
use crate::app::Refusal;
use crate::fs::{Access, Lock, write_atomic};

/// Nobody holds the file's lock for longer than it takes to write it.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// One of a machine's two.
struct Wanted {
    name: String,
    uri: String,
}

fn wanted(route: &Route) -> [Wanted; 2] {
    [
        Wanted { name: route.machine.clone(), uri: route.podman(false) },
        Wanted { name: format!("{}-root", route.machine), uri: route.podman(true) },
    ]
}

/// Makes or renews both; the default is that of the machine's own user.
pub fn connect(file: &Path, route: &Route, default: AsDefault) -> anyhow::Result<()> {
    let first = usize::from(route.rootful);
    match older_podman() {
        Some(podman) => {
            let known = listed(&podman)?;
            let wanted = wanted(route);
            let theirs = |one: &&Wanted| {
                known.get(&one.name).is_some_and(|known| known.identity != route.identity)
            };
            if let Some(one) = wanted.iter().find(theirs) {
                return Err(taken(Program::Podman, &one.name).into());
            }
            // Before one of them is away, and podman has another default.
            let chosen = match default {
                AsDefault::Yes => Some(first),
                AsDefault::No => wanted
                    .iter()
                    .position(|one| known.get(&one.name).is_some_and(|known| known.default)),
            };
            for one in &wanted {
                match known.get(&one.name) {
                    Some(known) if known.uri == one.uri => continue,
                    Some(_) => remove(&podman, &one.name)?,
                    None => {}
                }
                let mut add = Command::new(&podman);
                add.args(["system", "connection", "add", "--identity", &route.identity]);
                output(add.args([&one.name, &one.uri]))?;
            }
            if let Some(at) = chosen {
                // Not by `add --default`, which podman 4.3 passes over.
                let mut choose = Command::new(&podman);
                output(choose.args(["system", "connection", "default", &wanted[at].name]))?;
            }
            Ok(())
        }
        None => edit(file, |connections| {
            for (at, one) in wanted(route).iter().enumerate() {
                connections.put(one, &route.identity)?;
                if default == AsDefault::Yes && at == first {
                    connections.whole["Connection"]["Default"] = Value::from(one.name.as_str());
                }
            }
            Ok(())
        }),
    }
}

/// Removes those of the two that have the machine's key.
pub fn disconnect(file: &Path, route: &Route) -> anyhow::Result<()> {
    match older_podman() {
        Some(podman) => {
            let known = listed(&podman)?;
            for one in wanted(route) {
                if known.get(&one.name).is_some_and(|known| known.identity == route.identity) {
                    remove(&podman, &one.name)?;
                }
            }
            Ok(())
        }
        None if !file.exists() => Ok(()),
        None => edit(file, |connections| {
            for one in wanted(route) {
                connections.remove(&one.name, &route.identity);
            }
            Ok(())
        }),
    }
}

/// The podman command, where it does not know the file.
fn older_podman() -> Option<PathBuf> {
    let podman = which::which("podman").ok()?;
    let said = output(Command::new(&podman).arg("--version")).unwrap_or_default();
    (major(&said)? < FILE_SINCE).then_some(podman)
}

/// containers/common 0.58, which podman 5.0 has.
const FILE_SINCE: u32 = 5;

/// Of `podman version 5.4.2`.
fn major(said: &str) -> Option<u32> {
    said.trim().strip_prefix("podman version ")?.split('.').next()?.parse().ok()
}

/// A connection that the podman command knows.
struct Known {
    uri: String,
    identity: String,
    default: bool,
}

/// Each of them by its name.
fn listed(podman: &Path) -> anyhow::Result<BTreeMap<String, Known>> {
    let mut list = Command::new(podman);
    list.args(["system", "connection", "list", "--format", "json"]);
    let all: Vec<Value> = serde_json::from_str(&output(&mut list)?)
        .context("reading the list of podman's connections")?;
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let known = |one: &Value| Known {
        uri: text(one, "URI"),
        identity: text(one, "Identity"),
        default: one["Default"] == Value::Bool(true),
    };
    Ok(all.iter().map(|one| (text(one, "Name"), known(one))).collect())
}

fn remove(podman: &Path, name: &str) -> anyhow::Result<()> {
    let mut remove = Command::new(podman);
    output(remove.args(["system", "connection", "remove", name])).map(drop)
}

/// The whole file, of which only our connections are touched.
struct Connections {
    whole: Value,
}

impl Connections {
    fn all(&mut self) -> &mut Map<String, Value> {
        let all = &mut self.whole["Connection"]["Connections"];
        if !all.is_object() {
            *all = json!({});
        }
        all.as_object_mut().expect("made an object just now")
    }

    fn put(&mut self, one: &Wanted, identity: &str) -> Result<(), Refusal> {
        let known = self.all().get(&one.name);
        if known.is_some_and(|known| known["Identity"] != identity) {
            return Err(taken(Program::Podman, &one.name));
        }
        // A machine's host key is made anew with each machine: podman does not
        // look for it in ~/.ssh/known_hosts then.
        let put = json!({ "URI": one.uri, "Identity": identity, "IsMachine": true });
        self.all().insert(one.name.clone(), put);
        Ok(())
    }

    fn remove(&mut self, name: &str, identity: &str) {
        if self.all().get(name).is_some_and(|known| known["Identity"] == identity) {
            self.all().remove(name);
            let default = &mut self.whole["Connection"]["Default"];
            if *default == name {
                *default = Value::from("");
            }
        }
    }
}

/// Changes the file as a whole; one that is not understood stays as it is.
fn edit(
    file: &Path,
    change: impl FnOnce(&mut Connections) -> Result<(), Refusal>,
) -> anyhow::Result<()> {
    let doing = || format!("changing \"{}\"", file.display());
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).with_context(doing)?;
    }
    // Several machines may start at once.
    let _lock = Lock::acquire(&locked(file), LOCK_PATIENCE).with_context(doing)?;
    let whole = match std::fs::read(file) {
        Ok(text) => {
            serde_json::from_slice(&text).ok().filter(Value::is_object).ok_or_else(|| {
                Refusal::new(format!("\"{}\" is not what podman writes", file.display()))
                    .hint("Mend or move it away, or install podman, which makes its own")
            })?
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => json!({}),
        Err(e) => return Err(anyhow::Error::from(e).context(doing())),
    };
    let mut connections = Connections { whole };
    change(&mut connections)?;
    let text = serde_json::to_vec(&connections.whole)?;
    write_atomic(file, &text, Access::Owner).with_context(doing)
}

fn locked(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".nsvm-lock");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_says_who_knows_the_file() {
        assert_eq!(major("podman version 4.3.1\n"), Some(4));
        assert_eq!(major("podman version 10.0.0-dev\n"), Some(10));
        assert_eq!(major("docker version 1"), None);
    }

    fn one(name: &str) -> Wanted {
        Wanted { name: name.into(), uri: "ssh://x".into() }
    }

    #[test]
    fn only_our_own_connections_are_touched() {
        let whole = json!({
            "Connection": { "Default": "ours", "Connections": {
                "ours": { "URI": "ssh://old", "Identity": "/k" },
                "theirs": { "URI": "ssh://t", "Identity": "/t" },
            }},
            "Farm": { "List": { "f": ["theirs"] } },
        });
        let mut connections = Connections { whole };
        connections.put(&one("ours"), "/k").unwrap();
        assert_eq!(connections.all()["ours"]["URI"], "ssh://x");
        let refused = connections.put(&one("theirs"), "/k").unwrap_err();
        assert!(refused.message.contains("\"theirs\" that is not nsvm's"), "{refused}");
        connections.remove("theirs", "/k");
        connections.remove("ours", "/k");
        let left = json!({
            "Connection": { "Default": "", "Connections": {
                "theirs": { "URI": "ssh://t", "Identity": "/t" },
            }},
            "Farm": { "List": { "f": ["theirs"] } },
        });
        assert_eq!(connections.whole, left);
    }
}
