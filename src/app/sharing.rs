//! Volumes and published ports, as a user asks for them: checked as a whole.

use std::fs;
use std::path::Path;

use super::Refusal;
use crate::host;
use crate::machine::published::{Published, PublishedError};
use crate::machine::volume::{Volume, VolumeError};

/// What was typed, one text for each; one empty text means none.
#[derive(Debug, Clone, Default)]
pub struct Sharing {
    pub volumes: Vec<String>,
    pub ports: Vec<String>,
}

impl Sharing {
    /// The volumes, whose sources are directories of this host.
    pub fn volumes(&self) -> Result<Vec<Volume>, Refusal> {
        let typed = self.volumes.iter().map(String::as_str).filter(|text| !text.is_empty());
        let typed: Vec<&str> = typed.collect();
        if !host::SHARES_DIRECTORIES && !typed.is_empty() {
            let text = "volumes are not possible on this host: QEMU offers no 9p on Windows";
            return Err(Refusal::new(text).hint("Copy files with `nsvm machine cp`"));
        }
        let volumes: Vec<Volume> = typed.into_iter().map(volume).collect::<Result<_, _>>()?;
        for (at, one) in volumes.iter().enumerate() {
            if volumes[..at].iter().any(|other| other.target == one.target) {
                let text = format!("two volumes have the same target \"{}\"", one.target);
                return Err(Refusal::new(text).hint("Give each a target of its own"));
            }
        }
        Ok(volumes)
    }

    /// The ports to publish.
    pub fn ports(&self) -> Result<Vec<Published>, Refusal> {
        let refused = |e: PublishedError| Refusal::new(e.to_string()).hint(e.hint());
        let typed = self.ports.iter().filter(|text| !text.is_empty());
        let ports: Vec<Published> =
            typed.map(|text| text.parse()).collect::<Result<_, _>>().map_err(refused)?;
        for (at, one) in ports.iter().enumerate() {
            if ports[..at].iter().any(|other| other.host == one.host) {
                let text = format!("port {} is published twice", one.host);
                return Err(Refusal::new(text).hint("Choose another port of the host"));
            }
        }
        Ok(ports)
    }
}

fn volume(text: &str) -> Result<Volume, Refusal> {
    let refused = |e: VolumeError| Refusal::new(e.to_string()).hint(e.hint());
    let typed: Volume = text.parse().map_err(refused)?;
    let source = std::path::absolute(&typed.source)
        .ok()
        .filter(|path| path.is_dir())
        .ok_or_else(|| no_directory(&typed.source))?;
    let Some(source) = source.to_str() else {
        let text = format!("the path of the volume \"{}\" is not UTF-8", source.display());
        return Err(Refusal::new(text).hint("Rename that directory, or share one above it"));
    };
    typed.at(source).map_err(refused)
}

/// What the guest calls this `directory` of the host, if a volume has it: of
/// several the closest one. Links in either path are followed.
pub fn in_guest(volumes: &[Volume], directory: &Path) -> Option<Vec<u8>> {
    if volumes.is_empty() {
        return None;
    }
    let directory = fs::canonicalize(directory).ok()?;
    let real = |volume: &Volume| fs::canonicalize(&volume.source).ok();
    let sources: Vec<_> = volumes.iter().filter_map(|v| Some((real(v)?, v))).collect();
    let around = sources.iter().filter(|(source, _)| directory.starts_with(source));
    let (source, volume) = around.max_by_key(|(source, _)| source.components().count())?;
    let mut there = volume.target.clone().into_bytes();
    for part in directory.strip_prefix(source).ok()?.components() {
        there.push(b'/');
        there.extend_from_slice(part.as_os_str().as_encoded_bytes());
    }
    Some(there)
}

fn no_directory(source: &str) -> Refusal {
    let why = if Path::new(source).exists() { "is no directory" } else { "does not exist" };
    Refusal::new(format!("the volume's source \"{source}\" {why}"))
        .hint("Name a directory of this host")
}

/// Somebody must mount the volumes.
pub fn check_provisioning(volumes: &[Volume], nothing_is_ours: bool) -> Result<(), Refusal> {
    if volumes.is_empty() || !nothing_is_ours {
        return Ok(());
    }
    let text = "--volume needs something of nsvm in the guest, which mounts it";
    Err(Refusal::new(text)
        .hint("Leave out --volume, --ignition-path or --provisioner none (see --ignition-merge)"))
}

/// Nothing may hide the keys that the user logs in with.
pub fn check_home(volumes: &[Volume], username: &str) -> Result<(), Refusal> {
    for home in [format!("/home/{username}"), format!("/var/home/{username}")] {
        for hidden in [home.clone(), format!("{home}/.ssh")] {
            if volumes.iter().any(|volume| volume.target == hidden) {
                let text = format!("the volume's target \"{hidden}\" would hide the user's keys");
                let hint = format!("Choose another target, such as {home}/host");
                return Err(Refusal::new(text).hint(hint));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sharing(volumes: &[&str], ports: &[&str]) -> Sharing {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Sharing { volumes: owned(volumes), ports: owned(ports) }
    }

    #[test]
    fn each_target_and_each_port_is_there_once() {
        let dir = tempfile::tempdir().unwrap();
        let twice = format!("{}:/mnt/x", dir.path().display());
        let refused = sharing(&[&twice, &twice], &[]).volumes().unwrap_err();
        if host::SHARES_DIRECTORIES {
            assert!(refused.message.contains("same target \"/mnt/x\""), "{refused}");
            assert_eq!(sharing(&[&twice], &[]).volumes().unwrap()[0].target, "/mnt/x");
        } else {
            assert!(refused.message.contains("not possible on this host"), "{refused}");
        }
        let refused = sharing(&[], &["80:1", "80:2"]).ports().unwrap_err();
        assert!(refused.message.contains("published twice"), "{refused}");
        assert!(sharing(&[""], &[""]).volumes().unwrap().is_empty());
    }

    #[test]
    fn the_closest_volume_names_a_directory_for_the_guest() {
        let top = tempfile::tempdir().unwrap();
        let dir = |name: &str| {
            let dir = top.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            dir
        };
        let (deep, beside) = (dir("src/a b/deep"), dir("src2"));
        let volume = |name: &str, target: &str| {
            Volume::at(format!("x:{target}").parse().unwrap(), dir(name).to_str().unwrap()).unwrap()
        };
        let volumes = [volume("src", "/mnt/src"), volume("src/a b", "/mnt/ab")];
        let there = |dir: &Path| in_guest(&volumes, dir).map(|dir| String::from_utf8(dir).unwrap());
        assert_eq!(there(&deep).as_deref(), Some("/mnt/ab/deep"));
        assert_eq!(there(&dir("src")).as_deref(), Some("/mnt/src"));
        assert_eq!((there(&beside), there(&top.path().join("gone"))), (None, None));
        assert_eq!(in_guest(&[], &deep), None);
    }

    #[test]
    fn the_keys_of_the_user_stay_in_sight() {
        let dir = tempfile::tempdir().unwrap();
        let at = |target: &str| {
            let source = dir.path().to_str().unwrap().to_owned();
            let volume = Volume { source, target: target.to_owned(), read_only: false };
            check_home(&[volume], "core")
        };
        assert!(at("/home/core").is_err() && at("/var/home/core/.ssh").is_err());
        assert!(at("/home/core/work").is_ok() && at("/home/other").is_ok());
    }
}
