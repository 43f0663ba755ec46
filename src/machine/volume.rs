//! Directories of the host that a guest sees: `-v SRC[:DST[:ro|rw]]`.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A directory of the host and where it is in the guest. Both are absolute;
/// neither has a control character, since they stand in lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    pub source: String,
    pub target: String,
    #[serde(default)]
    pub read_only: bool,
}

/// What of a guest belongs to its system, with all that is below it.
const SYSTEM: [&str; 20] = [
    "/bin",
    "/boot",
    "/dev",
    "/efi",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/ostree",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/sysroot",
    "/usr",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
];

/// What a system keeps its own things in, while others may be below it.
const SHARED: [&str; 8] =
    ["/", "/home", "/root", "/tmp", "/var", "/var/home", "/var/roothome", "/var/tmp"];

/// Why a text is no volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    #[error("\"{0}\" is no volume: it must be SRC[:DST[:ro|rw]]")]
    Form(String),
    #[error("\"{option}\" is not possible with the volume \"{source_path}\": ro and rw are")]
    Option { source_path: String, option: String },
    #[error("the volume \"{0}\" has a control character in its path")]
    Control(String),
    #[error("the volume's target \"{0}\" is no absolute path")]
    Relative(String),
    #[error("the volume's target \"{0}\" belongs to the guest's system")]
    System(String),
}

impl VolumeError {
    /// One imperative sentence with the way out.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Form(_) => "Write -v /host/dir, -v /host/dir:/guest/dir or ...:ro",
            Self::Option { .. } => "Leave it out: volumes go by 9p; virtiofs comes later",
            Self::Control(_) => "Rename that directory, or share one above it",
            Self::Relative(_) => "Begin the target with /",
            Self::System(_) => "Choose another target, such as /mnt/NAME",
        }
    }
}

impl FromStr for Volume {
    type Err = VolumeError;

    /// The source is as typed: whoever knows the current directory completes
    /// it. Without a target it is at the same place in the guest.
    fn from_str(text: &str) -> Result<Self, VolumeError> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, option) = match *parts.as_slice() {
            [source] => (source, None, "rw"),
            [source, target] => (source, Some(target), "rw"),
            [source, target, option] => (source, Some(target), option),
            _ => return Err(VolumeError::Form(text.to_owned())),
        };
        if source.is_empty() || target == Some("") {
            return Err(VolumeError::Form(text.to_owned()));
        }
        let read_only = match option {
            "ro" => true,
            "rw" => false,
            other => {
                let (source_path, option) = (source.to_owned(), other.to_owned());
                return Err(VolumeError::Option { source_path, option });
            }
        };
        if text.chars().any(char::is_control) {
            return Err(VolumeError::Control(text.escape_debug().to_string()));
        }
        let target = target.map_or_else(|| Ok(String::new()), normal)?;
        Ok(Self { source: source.to_owned(), target, read_only })
    }
}

impl Volume {
    /// With the absolute path of its source, which is its target too where
    /// none was named.
    pub fn at(mut self, source: &str) -> Result<Self, VolumeError> {
        if source.chars().any(char::is_control) {
            return Err(VolumeError::Control(source.escape_debug().to_string()));
        }
        source.clone_into(&mut self.source);
        if self.target.is_empty() {
            self.target = normal(source)?;
        }
        Ok(self)
    }
}

/// The path without doubled and final slashes, if something may be there.
fn normal(path: &str) -> Result<String, VolumeError> {
    if !path.starts_with('/') || path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(VolumeError::Relative(path.to_owned()));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let path = format!("/{}", parts.join("/"));
    let inside = |dir: &&str| path == **dir || path.starts_with(&format!("{dir}/"));
    if SYSTEM.iter().any(inside) || SHARED.contains(&path.as_str()) {
        return Err(VolumeError::System(path));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, String, bool), VolumeError> {
        text.parse::<Volume>().map(|v| (v.source, v.target, v.read_only))
    }

    #[test]
    fn the_forms_that_podman_has() {
        let owned = |a: &str, b: &str, ro| Ok((a.to_owned(), b.to_owned(), ro));
        assert_eq!(parse("/a b"), owned("/a b", "", false));
        assert_eq!(parse("src:/c d//e/"), owned("src", "/c d/e", false));
        assert_eq!(parse("/a:/b:ro"), owned("/a", "/b", true));
        let whole = "sub".parse::<Volume>().unwrap().at("/home/u/sub").unwrap();
        assert_eq!((whole.source.as_str(), whole.target.as_str()), ("/home/u/sub", "/home/u/sub"));
    }

    #[test]
    fn system_directories_and_what_is_in_them_are_refused() {
        for target in
            ["/", "//", "/usr", "/usr/bin", "/etc/", "/home", "/var/lib/x", "/run/a", "/root"]
        {
            let refused = parse(&format!("/a:{target}")).unwrap_err();
            assert!(matches!(refused, VolumeError::System(_)), "{target}: {refused}");
        }
        for target in ["/home/u", "/usrlocal", "/mnt", "/root/x", "/var/mnt", "/Users/u", "/tmp/x"]
        {
            assert!(parse(&format!("/a:{target}")).is_ok(), "{target}");
        }
        // Where no target is named the source is one.
        assert!("/etc".parse::<Volume>().unwrap().at("/etc").is_err());
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", ":/b", "/a:", "/a:/b:ro:x"] {
            assert_eq!(parse(bad), Err(VolumeError::Form(bad.to_owned())));
        }
        assert!(matches!(parse("/a:/b:virtiofs"), Err(VolumeError::Option { .. })));
        assert!(matches!(parse("/a:/b\n"), Err(VolumeError::Control(_))));
        for bad in ["b", "/b/../usr", "/./b"] {
            assert!(matches!(parse(&format!("/a:{bad}")), Err(VolumeError::Relative(_))), "{bad}");
        }
    }
}
