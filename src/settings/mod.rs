//! Config files: TOML, one table for each subject.
//!
//! ```toml
//! [machine]                       # what `machine init` takes when no flag says
//! cpus = 4
//! memory = 4096                   # MiB
//! disk_size = 40                  # GiB
//! image = "debian:13"
//! user = "core"
//! volumes = ["$HOME:$HOME:ro"]
//! idle_suspend = "10m"            # or "off"
//! templates = true                # machines begin as copies of others of their kind
//!
//! [run]
//! auto_start = true               # commands start a machine that is stopped
//!
//! [image]
//! default = "fedora-coreos:next"
//! mirrors = ["https://mirror.example.org/fcos"]
//! pull = "newer"                  # never, missing, newer
//! signature = "require"           # require, auto, off
//! keyring = "keys.asc"            # relative to this file
//! cacert = "/etc/ssl/company.pem"
//!
//! [[image.catalog]]               # an entry as in images/catalog.json
//! name = "ours"
//! ```
//!
//! Parsing is pure. Several files and the environment are layers ([`layers`]);
//! flags come before all of them.

pub mod layers;
mod machine;
mod strict;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::image::Choices;

pub use machine::{MachineChoices, MachineDefaults};

/// All that a config file can say; one layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub machine: MachineChoices,
    pub image: Choices,
    pub run: RunChoices,
}

/// How commands get to their machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunChoices {
    /// Commands for a machine that is stopped start it.
    pub auto_start: Option<bool>,
}

/// A config file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read the config file \"{}\"", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the config file \"{}\" is wrong in line {line}: {reason}", .path.display())]
    Wrong { path: PathBuf, line: usize, reason: String },
    #[error("{name} is wrong: {reason}")]
    Variable { name: String, reason: String },
}

impl SettingsError {
    /// One imperative sentence with the way out.
    pub fn hint(&self) -> String {
        match self {
            Self::Read { .. } => "Make it readable, or unset NSVM_CONFIG".to_owned(),
            Self::Variable { name, .. } => format!("Set {name} as in a config file, or unset it"),
            Self::Wrong { path, line, .. } => {
                format!("Mend line {line} of \"{}\"", path.display())
            }
        }
    }
}

/// What is wrong, and the byte of the text where.
pub(crate) struct Fault {
    at: usize,
    reason: String,
}

impl Settings {
    /// Understands the text of the file at `path`, which is absolute.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        let wrong = |fault: Fault| SettingsError::Wrong {
            path: path.to_owned(),
            line: line(text, fault.at),
            reason: fault.reason,
        };
        let mut settings: Self = toml::from_str(text).map_err(|e| wrong(Fault::from(e)))?;
        strict::check(text, &settings).map_err(wrong)?;
        settings.image.mirrors.iter().flatten().try_for_each(|mirror| {
            let at = text.find(mirror.as_str()).unwrap_or_default();
            check_mirror(mirror).map_err(|reason| wrong(Fault { at, reason }))
        })?;
        let dir = path.parent().unwrap_or(path);
        for file in [&mut settings.image.keyring, &mut settings.image.cacert] {
            *file = file.take().map(|file| dir.join(file));
        }
        Ok(settings)
    }

    /// Reads the file at `path`; one that is not there is none, unless it
    /// `must_exist`.
    pub fn read(path: &Path, must_exist: bool) -> Result<Option<Self>, SettingsError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => Ok(None),
            Err(source) => Err(SettingsError::Read { path: path.to_owned(), source }),
        }
    }

    /// These, and `lower` where they leave something out.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            machine: self.machine.over(lower.machine),
            image: self.image.over(lower.image),
            run: RunChoices { auto_start: self.run.auto_start.or(lower.run.auto_start) },
        }
    }

    /// What holds where nobody says anything.
    pub fn built_in() -> Self {
        Self {
            machine: MachineChoices::built_in(),
            image: Choices::built_in(),
            run: RunChoices { auto_start: Some(false) },
        }
    }
}

impl From<toml::de::Error> for Fault {
    fn from(error: toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        Self { at, reason: error.message().replace('\n', " ") }
    }
}

fn check_mirror(mirror: &str) -> Result<(), String> {
    match Url::parse(mirror) {
        Ok(url) if matches!(url.scheme(), "http" | "https" | "file") => Ok(()),
        Ok(_) => Err(format!("the mirror \"{mirror}\" is none of https, http and file")),
        Err(e) => Err(format!("the mirror \"{mirror}\" is no URL: {e}")),
    }
}

/// The line, from 1, that a byte of the text is in.
fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Pull, Signatures};

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("/etc/nsvm.toml")).map_err(|e| e.to_string())
    }

    const ENTRY: &str = r#"
        [[image.catalog]]
        name = "ours"
        summary = "of this company"
        kind = "fcos-stream"
        url = "https://fcos.example.org/streams/{stream}.json"
        streams = ["stable"]
        arches = ["x86_64"]
        user = "core"
        provisioner = "ignition"
    "#;

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(parse("").unwrap(), Settings::default());
        assert_eq!(parse("# only this\n[image]\n").unwrap(), Settings::default());
    }

    #[test]
    fn everything_can_be_said() {
        let text = r#"
            [image]
            default = "ours:stable"
            mirrors = ["http://mirror.example.org/fcos", "https://m2.example.org/"]
            pull = "newer"
            signature = "require"
            keyring = "keys.asc"
            cacert = "/etc/company.pem"
        "#;
        let image = parse(&format!("{text}{ENTRY}")).unwrap().image;
        assert_eq!(image.default.as_deref(), Some("ours:stable"));
        assert_eq!(image.mirrors.unwrap().len(), 2);
        assert_eq!((image.pull, image.signature), (Some(Pull::Newer), Some(Signatures::Require)));
        // A relative path is relative to the file.
        assert_eq!(image.keyring.as_deref(), Some(Path::new("/etc/keys.asc")));
        assert_eq!(image.cacert.as_deref(), Some(Path::new("/etc/company.pem")));
        assert_eq!(image.catalog[0].name, "ours");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line, part) in [
            ("[image]\nmirors = []\n", 2, "unknown field `mirors`"),
            ("\n\n[imge]\n", 3, "unknown field `imge`"),
            ("[image]\n\npull = \"always\"\n", 3, "unknown variant `always`"),
            ("[image]\nsignature = true\n", 2, "wanted string"),
            ("[image\n", 1, ""),
            (
                "[image]\nmirrors = [\n  \"ftp://x.example\",\n]\n",
                3,
                "none of https, http and file",
            ),
            ("[image]\nmirrors = [\"mirror\"]\n", 2, "is no URL"),
        ] {
            let error = parse(text).unwrap_err();
            let start = format!("the config file \"/etc/nsvm.toml\" is wrong in line {line}: ");
            assert!(error.starts_with(&start) && error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn unknown_keys_of_a_catalog_entry_are_errors_too() {
        let error = parse(&ENTRY.replace("summary =", "sumary =")).unwrap_err();
        assert!(error.contains("sumary") || error.contains("summary"), "{error}");
        let more = ENTRY.replace("user =", "usr = \"x\"\n        user =");
        let error = parse(&more).unwrap_err();
        assert!(error.contains("line 9: unknown field `usr`"), "{error}");
        let keys =
            format!("{ENTRY}\nkeys = {{ url = \"https://k.example\", fingerprints = [], x = 1 }}");
        let error = parse(&keys).unwrap_err();
        assert!(error.contains('x'), "{error}");
    }
}
