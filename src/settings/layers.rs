//! Where settings come from, lowest first:
//!
//! ```text
//! what is built in
//! <system>/nsvm.toml          the host's administrator
//! <system>/conf.d/*.toml      packages, in the order of their names
//! <user>/nsvm.toml            the user; NSVM_CONFIG names another file, then
//! <user>/conf.d/*.toml        neither of these two is read
//! NSVM_TABLE_KEY              one variable a key, such as NSVM_MACHINE_CPUS
//! ```
//!
//! Flags come before all of them; each verb lays its own on top.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Settings, SettingsError};
use crate::image::Catalog;

/// Keys that a variable can give: the scalars and lists of words.
const VARIABLES: [(&str, &str); 18] = [
    ("machine", "cpus"),
    ("machine", "memory"),
    ("machine", "disk_size"),
    ("machine", "swap"),
    ("machine", "image"),
    ("machine", "user"),
    ("machine", "rootful"),
    ("machine", "timezone"),
    ("machine", "volumes"),
    ("machine", "idle_suspend"),
    ("machine", "templates"),
    ("image", "default"),
    ("image", "pull"),
    ("image", "signature"),
    ("image", "keyring"),
    ("image", "cacert"),
    ("image", "mirrors"),
    ("run", "auto_start"),
];

/// The file that a directory of settings has, and the directory of its drop-ins.
const FILE: &str = "nsvm.toml";
const DROP_INS: &str = "conf.d";

/// Where files of settings may be.
#[derive(Debug, Clone)]
pub struct Places {
    /// The directory of the host's administrator.
    pub system: PathBuf,
    /// The user's directory.
    pub user: PathBuf,
    /// `NSVM_CONFIG`: a file, which must exist, in place of the user's.
    pub named: Option<PathBuf>,
}

/// Who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    BuiltIn,
    File(PathBuf),
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// All that is said anywhere, lowest first.
#[derive(Debug, Clone)]
pub struct Layers(Vec<(Origin, Settings)>);

/// One key as it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    pub table: String,
    pub key: String,
    pub value: Value,
    pub origin: Origin,
}

impl Layers {
    /// Reads all of them; a wrong one is an error, because it may have said
    /// something that matters.
    pub fn read(
        places: &Places,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let mut files = directory(&places.system)?;
        match &places.named {
            Some(file) => files.push((file.clone(), true)),
            None => files.extend(directory(&places.user)?),
        }
        let mut layers = vec![(Origin::BuiltIn, built_in())];
        for (path, must_exist) in files {
            if let Some(settings) = Settings::read(&path, must_exist)? {
                layers.push((Origin::File(path), settings));
            }
        }
        for (table, key) in VARIABLES {
            let name = format!("NSVM_{table}_{key}").to_uppercase();
            if let Some(text) = variable(&name) {
                let settings = from_variable(table, key, &text)
                    .map_err(|reason| SettingsError::Variable { name: name.clone(), reason })?;
                layers.push((Origin::Variable(name), settings));
            }
        }
        Ok(Self(layers))
    }

    /// What counts.
    pub fn settle(self) -> Settings {
        self.0.into_iter().fold(Settings::default(), |lower, (_, layer)| layer.over(lower))
    }

    /// The same key by key, in the order of `[machine]`, `[image]`, `[run]`.
    /// A list that adds up has the origin of its uppermost part.
    pub fn shown(&self) -> Vec<Shown> {
        let mut origins = Vec::new();
        for (origin, layer) in &self.0 {
            for (table, key, _) in keys(layer) {
                origins.push((table, key, origin));
            }
        }
        let origin_of = |table: &str, key: &str| {
            let found = origins.iter().rev().find(|(t, k, _)| t == table && k == key);
            found.map_or(Origin::BuiltIn, |(_, _, origin)| (*origin).clone())
        };
        keys(&self.clone().settle())
            .into_iter()
            .map(|(table, key, value)| Shown { origin: origin_of(&table, &key), table, key, value })
            .collect()
    }
}

fn built_in() -> Settings {
    let mut settings = Settings::built_in();
    settings.image.default = Some(Catalog::embedded().default.clone());
    settings
}

/// What a layer says, a key each.
fn keys(settings: &Settings) -> Vec<(String, String, Value)> {
    let all = Table::try_from(settings).expect("settings are what TOML can say");
    let mut keys = Vec::new();
    for table in ["machine", "image", "run"] {
        let inner = all.get(table).and_then(Value::as_table);
        for (key, value) in inner.into_iter().flatten() {
            keys.push((table.to_owned(), key.clone(), value.clone()));
        }
    }
    keys
}

/// The files of a directory of settings and whether they must be there.
fn directory(dir: &Path) -> Result<Vec<(PathBuf, bool)>, SettingsError> {
    let mut files = vec![(dir.join(FILE), false)];
    let drop_ins = dir.join(DROP_INS);
    let entries = match std::fs::read_dir(&drop_ins) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(source) => return Err(SettingsError::Read { path: drop_ins, source }),
    };
    let is_toml = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "toml");
    let mut found: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_toml).collect();
    found.sort();
    files.extend(found.into_iter().map(|path| (path, true)));
    Ok(files)
}

/// A number, a truth value or a list as in a file; everything else is a text.
fn from_variable(table: &str, key: &str, text: &str) -> Result<Settings, String> {
    let here = std::path::absolute("nsvm.toml").unwrap_or_else(|_| FILE.into());
    let parse = |value: &str| Settings::parse(&format!("[{table}]\n{key} = {value}\n"), &here);
    let single_line = !text.contains(['\n', '\r']);
    if let Some(settings) = single_line.then(|| parse(text).ok()).flatten() {
        return Ok(settings);
    }
    parse(&Value::from(text).to_string()).map_err(|e| match e {
        SettingsError::Wrong { reason, .. } => reason,
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::units::MiB;
    use std::fs;

    fn written(files: &[(&str, &str)]) -> (tempfile::TempDir, Places) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let places =
            Places { system: dir.path().join("etc"), user: dir.path().join("user"), named: None };
        (dir, places)
    }

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn each_layer_comes_before_those_below_it() {
        let (_dir, places) = written(&[
            ("etc/nsvm.toml", "[machine]\ncpus = 1\nmemory = 1\nswap = 1\ndisk_size = 1\n"),
            ("etc/conf.d/20-b.toml", "[machine]\nmemory = 3\nswap = 3\n"),
            ("etc/conf.d/10-a.toml", "[machine]\nmemory = 2\nuser = \"a\"\n"),
            ("etc/conf.d/note.txt", "not TOML"),
            ("user/nsvm.toml", "[machine]\nswap = 4\nrootful = true\n"),
        ]);
        let environment = |name: &str| (name == "NSVM_MACHINE_ROOTFUL").then(|| "false".to_owned());
        let layers = Layers::read(&places, environment).unwrap();
        let machine = layers.clone().settle().machine.settle();
        assert_eq!((machine.cpus, machine.memory, machine.swap), (1, MiB(3), MiB(4)));
        assert_eq!((machine.user.as_deref(), machine.rootful), (Some("a"), false));
        let shown = layers.shown();
        let origin = |key: &str| {
            let found = shown.iter().find(|shown| shown.key == key).unwrap();
            found.origin.to_string()
        };
        assert!(Path::new(&origin("cpus")).ends_with("etc/nsvm.toml"));
        assert!(origin("memory").ends_with("20-b.toml"));
        assert!(Path::new(&origin("swap")).ends_with("user/nsvm.toml"));
        assert_eq!(origin("rootful"), "NSVM_MACHINE_ROOTFUL");
        assert_eq!(origin("timezone"), "built in");
    }

    #[test]
    fn a_named_file_takes_the_place_of_the_users_and_must_be_there() {
        let (dir, mut places) = written(&[
            ("etc/nsvm.toml", "[machine]\ncpus = 7\n"),
            ("user/nsvm.toml", "wrong"),
            ("user/conf.d/x.toml", "wrong"),
            ("named.toml", "[machine]\nmemory = 9\n"),
        ]);
        assert!(Layers::read(&places, nothing).is_err());
        places.named = Some(dir.path().join("named.toml"));
        let machine = Layers::read(&places, nothing).unwrap().settle().machine.settle();
        assert_eq!((machine.cpus, machine.memory), (7, MiB(9)));
        places.named = Some(dir.path().join("missing.toml"));
        let error = Layers::read(&places, nothing).unwrap_err();
        assert!(error.to_string().contains("missing.toml"), "{error}");
    }

    #[test]
    fn every_variable_is_a_key_and_every_plain_key_has_a_variable() {
        let (_dir, places) = written(&[]);
        let everything = |name: &str| {
            Some(match name {
                "NSVM_IMAGE_PULL" => "never".to_owned(),
                "NSVM_IMAGE_SIGNATURE" => "off".to_owned(),
                "NSVM_MACHINE_VOLUMES" => "[\"/a:/b\"]".to_owned(),
                "NSVM_IMAGE_MIRRORS" => "[\"https://m.example/\"]".to_owned(),
                "NSVM_MACHINE_IDLE_SUSPEND" => "1h".to_owned(),
                "NSVM_MACHINE_ROOTFUL" | "NSVM_MACHINE_TEMPLATES" | "NSVM_RUN_AUTO_START" => {
                    "true".to_owned()
                }
                _ => "12".to_owned(),
            })
        };
        let layers = Layers::read(&places, everything).unwrap();
        let shown = layers.shown();
        for one in shown.iter().filter(|shown| shown.key != "catalog") {
            assert!(matches!(one.origin, Origin::Variable(_)), "{one:?}");
        }
        // A text that looks like a number stays a text where one is wanted.
        assert_eq!(layers.settle().machine.user.as_deref(), Some("12"));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let (_dir, places) = written(&[]);
        let wrong = |name: &str| (name == "NSVM_MACHINE_CPUS").then(|| "many".to_owned());
        let error = Layers::read(&places, wrong).unwrap_err();
        assert!(error.to_string().starts_with("NSVM_MACHINE_CPUS is wrong: "), "{error}");
        assert!(error.hint().contains("NSVM_MACHINE_CPUS"));
    }
}
