//! Who provisions a new machine, and what that one is given.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Refusal;
use crate::fs::{Access, write_atomic};
use crate::image::Provisioner;
use crate::machine::config::{CommonBoot, Provisioning};
use crate::machine::paths::MachinePaths;
use crate::machine::units::MiB;
use crate::provision::guest::Guest;
use crate::provision::{authorities, cloud_init, ignition, seed, time_zone};

/// `--provisioner`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// What the image is made for.
    #[default]
    Auto,
    Ignition,
    CloudInit,
    None,
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "ignition" => Ok(Self::Ignition),
            "cloud-init" => Ok(Self::CloudInit),
            "none" => Ok(Self::None),
            other => Err(format!("\"{other}\" is none of auto, ignition, cloud-init and none")),
        }
    }
}

/// What the user says about provisioning.
#[derive(Debug, Clone)]
pub struct ProvisionRequest {
    pub choice: Choice,
    /// Handed to the guest byte for byte instead of ours.
    pub own_ignition: Option<PathBuf>,
    pub ignition_merge: Option<PathBuf>,
    pub cloud_init: Option<PathBuf>,
    /// A name of the tz database, or `local`.
    pub time_zone: String,
    /// Zero: none.
    pub swap: MiB,
    pub authorities: Vec<PathBuf>,
    /// Trust what this host trusts.
    pub native_authorities: bool,
    /// For Ansible in the guest.
    pub playbook: Option<PathBuf>,
}

impl Default for ProvisionRequest {
    fn default() -> Self {
        Self {
            choice: Choice::Auto,
            own_ignition: None,
            ignition_merge: None,
            cloud_init: None,
            time_zone: time_zone::LOCAL.to_owned(),
            swap: MiB(0),
            authorities: Vec::new(),
            native_authorities: false,
            playbook: None,
        }
    }
}

impl ProvisionRequest {
    /// Whether nothing of ours gets into the guest.
    pub const fn brings_nothing(&self) -> bool {
        self.own_ignition.is_some() || matches!(self.choice, Choice::None)
    }

    /// What asks for something in the guest that nobody would do there.
    fn without_anyone(&self) -> Option<&'static str> {
        [
            ("--swap", self.swap.0 > 0),
            ("--guest-ca", !self.authorities.is_empty()),
            ("--import-native-ca", self.native_authorities),
            ("--playbook", self.playbook.is_some()),
            ("--timezone", self.time_zone != time_zone::LOCAL),
            ("--ignition-merge", self.ignition_merge.is_some()),
            ("--cloud-init", self.cloud_init.is_some()),
        ]
        .into_iter()
        .find_map(|(option, asked)| asked.then_some(option))
    }
}

/// The contents of the user's files, read and found good.
#[derive(Debug, Default)]
pub struct Inputs {
    choice: Choice,
    own_ignition: Option<Vec<u8>>,
    ignition_merge: Option<Vec<u8>>,
    cloud_init: Option<String>,
    pub time_zone: String,
    pub authorities: Vec<String>,
    pub playbook: Option<Vec<u8>>,
}

impl Inputs {
    /// Reads everything, before anything is downloaded.
    pub fn read(request: &ProvisionRequest) -> Result<Self, Refusal> {
        if let (Choice::None, Some(option)) = (request.choice, request.without_anyone()) {
            let text = format!("{option} and --provisioner none contradict each other");
            return Err(Refusal::new(text).hint("Leave out one of the two"));
        }
        let mut inputs = Self { choice: request.choice, ..Self::default() };
        if let Some(path) = &request.own_ignition {
            inputs.own_ignition = Some(read(path, "--ignition-path")?);
        }
        if let Some(path) = &request.ignition_merge {
            let bytes = read(path, "--ignition-merge")?;
            ignition::check(&bytes)
                .map_err(|e| unfit(path, "--ignition-merge", &e).hint(e.hint()))?;
            inputs.ignition_merge = Some(bytes);
        }
        if let Some(path) = &request.cloud_init {
            let bytes = read(path, "--cloud-init")?;
            let text = cloud_init::check(&bytes)
                .map_err(|e| unfit(path, "--cloud-init", &e).hint(e.hint()))?;
            inputs.cloud_init = Some(text.to_owned());
        }
        for path in &request.authorities {
            let found = authorities::read(&read(path, "--guest-ca")?)
                .map_err(|e| unfit(path, "--guest-ca", &e).hint(e.hint()))?;
            inputs.authorities.extend(found);
        }
        if request.native_authorities {
            let found = authorities::native()
                .map_err(|e| Refusal::new(e.to_string()).hint(e.native_hint()))?;
            inputs.authorities.extend(found);
        }
        if let Some(path) = &request.playbook {
            inputs.playbook = Some(read(path, "--playbook")?);
        }
        inputs.time_zone = time_zone::resolve(&request.time_zone)
            .map_err(|e| Refusal::new(e.to_string()).hint(e.hint()))?;
        Ok(inputs)
    }

    /// Who provisions a guest of an image that is made for `image`. For an
    /// image that says nothing, a file for one of the two decides.
    pub fn decide(&self, image: Provisioner) -> Result<Provisioning, Refusal> {
        if self.own_ignition.is_some() {
            return Ok(Provisioning::Own);
        }
        let (ignition, cloud_init) = (self.ignition_merge.is_some(), self.cloud_init.is_some());
        let decided = match (self.choice, image) {
            (Choice::Ignition, _) | (Choice::Auto, Provisioner::Ignition) => Provisioning::Ignition,
            (Choice::CloudInit, _) | (Choice::Auto, Provisioner::CloudInit) => {
                Provisioning::CloudInit
            }
            (Choice::None, _) => Provisioning::None,
            (Choice::Auto, Provisioner::Auto) => match (ignition, cloud_init) {
                (true, false) => Provisioning::Ignition,
                (false, true) => Provisioning::CloudInit,
                _ => Provisioning::Either,
            },
        };
        if ignition && !decided.by_ignition() {
            return Err(useless("--ignition-merge", decided, "--cloud-init"));
        }
        if cloud_init && !decided.by_cloud_init() {
            return Err(useless("--cloud-init", decided, "--ignition-merge"));
        }
        Ok(decided)
    }

    /// What a template has to know of the first boot, if one can stand for it.
    pub fn common_boot(&self, decided: Provisioning) -> Option<CommonBoot> {
        let own = self.ignition_merge.is_some()
            || self.playbook.is_some()
            || !self.authorities.is_empty()
            || decided != Provisioning::Ignition;
        (!own).then(|| CommonBoot { time_zone: self.time_zone.clone() })
    }

    /// Refuses units for an image whose guest has no systemd to run them.
    pub fn check_units(&self, image: &str, has_systemd: bool) -> Result<(), Refusal> {
        let files = [
            ("--ignition-path", self.own_ignition.as_deref()),
            ("--ignition-merge", self.ignition_merge.as_deref()),
        ];
        let units = |file: Option<&[u8]>| file.map(ignition::units).unwrap_or_default();
        let found = files.map(|(option, file)| (option, units(file)));
        match found.into_iter().find(|(_, units)| !units.is_empty()) {
            Some((option, units)) if !has_systemd => Err(Refusal::new(format!(
                "{option} has units of systemd ({}), which {image} does not have",
                units.join(", ")
            ))
            .hint("Take the units out of the file, or use another --image")),
            _ => Ok(()),
        }
    }

    /// Writes what QEMU hands to the guest.
    pub fn write(
        &self,
        paths: &MachinePaths,
        provisioning: Provisioning,
        guest: &Guest,
        uuid: &str,
    ) -> anyhow::Result<()> {
        if provisioning.by_ignition() {
            let ours = || ignition::render(guest, self.ignition_merge.as_deref()).into_bytes();
            let config = self.own_ignition.clone().unwrap_or_else(ours);
            write(&paths.ignition(), &config)?;
        }
        if provisioning.by_cloud_init() {
            let files = cloud_init::render(guest, uuid, self.cloud_init.as_deref());
            let disk = seed::disk(&files).context("making cloud-init's seed disk")?;
            write(&paths.seed(), &disk)?;
        }
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_atomic(path, bytes, Access::Owner).map_err(crate::store::io_error("writing", path))?;
    Ok(())
}

fn read(path: &Path, option: &str) -> Result<Vec<u8>, Refusal> {
    fs::read(path).map_err(|e| {
        Refusal::new(format!("cannot read {option} \"{}\": {e}", path.display()))
            .hint(format!("Give {option} a file you can read"))
    })
}

fn unfit(path: &Path, option: &str, why: &dyn std::error::Error) -> Refusal {
    Refusal::new(format!("cannot use {option} \"{}\": {why}", path.display()))
}

/// A file that the guest would never read.
fn useless(option: &str, decided: Provisioning, instead: &str) -> Refusal {
    let who = match decided {
        Provisioning::Ignition => "Ignition",
        _ => "cloud-init",
    };
    Refusal::new(format!("{option} would be ignored: {who} provisions this machine"))
        .hint(format!("Leave out {option}, or use {instead} or another --provisioner or --image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(choice: Choice, merge: bool, cloud: bool) -> Inputs {
        Inputs {
            choice,
            ignition_merge: merge.then(Vec::new),
            cloud_init: cloud.then(String::new),
            ..Inputs::default()
        }
    }

    #[test]
    fn the_image_decides_unless_the_user_does() {
        let plain = |choice, image| inputs(choice, false, false).decide(image).unwrap();
        assert_eq!(plain(Choice::Auto, Provisioner::CloudInit), Provisioning::CloudInit);
        assert_eq!(plain(Choice::Auto, Provisioner::Ignition), Provisioning::Ignition);
        assert_eq!(plain(Choice::Auto, Provisioner::Auto), Provisioning::Either);
        assert_eq!(plain(Choice::Ignition, Provisioner::CloudInit), Provisioning::Ignition);
        assert_eq!(plain(Choice::None, Provisioner::Ignition), Provisioning::None);
    }

    #[test]
    fn a_file_decides_where_the_image_does_not() {
        let auto =
            |merge, cloud| inputs(Choice::Auto, merge, cloud).decide(Provisioner::Auto).unwrap();
        assert_eq!(auto(true, false), Provisioning::Ignition);
        assert_eq!(auto(false, true), Provisioning::CloudInit);
        assert_eq!(auto(true, true), Provisioning::Either);
    }

    #[test]
    fn a_file_that_nobody_would_read_is_refused() {
        for (merge, cloud, choice, image, named) in [
            (true, false, Choice::Auto, Provisioner::CloudInit, "--ignition-merge"),
            (false, true, Choice::Auto, Provisioner::Ignition, "--cloud-init"),
        ] {
            let refused = inputs(choice, merge, cloud).decide(image).unwrap_err();
            assert!(refused.message.starts_with(named), "{refused}");
        }
    }

    #[test]
    fn nobody_does_nothing() {
        let request =
            ProvisionRequest { choice: Choice::None, swap: MiB(1), ..ProvisionRequest::default() };
        let refused = Inputs::read(&request).unwrap_err();
        assert!(refused.message.starts_with("--swap and --provisioner none"), "{refused}");
        let plain = ProvisionRequest { swap: MiB(0), ..request };
        assert!(Inputs::read(&plain).is_ok());
    }

    #[test]
    fn a_template_stands_for_no_first_boot_with_something_of_its_own() {
        let plain = || Inputs { time_zone: "Etc/UTC".into(), ..Inputs::default() };
        let known = plain().common_boot(Provisioning::Ignition).unwrap();
        assert_eq!(known.time_zone, "Etc/UTC");
        for (own, decided) in [
            (Inputs { ignition_merge: Some(Vec::new()), ..plain() }, Provisioning::Ignition),
            (Inputs { playbook: Some(Vec::new()), ..plain() }, Provisioning::Ignition),
            (Inputs { authorities: vec![String::new()], ..plain() }, Provisioning::Ignition),
            (plain(), Provisioning::CloudInit),
            (plain(), Provisioning::Either),
            (plain(), Provisioning::Own),
        ] {
            assert_eq!(own.common_boot(decided), None);
        }
    }

    #[test]
    fn units_need_systemd() {
        let text =
            br#"{ "systemd": { "units": [{ "name": "a.timer" }, { "name": "b.service" }] } }"#;
        let own = Inputs { own_ignition: Some(text.to_vec()), ..Inputs::default() };
        let refused = own.check_units("micro", false).unwrap_err();
        let wanted = "--ignition-path has units of systemd (a.timer, b.service), which micro";
        assert!(refused.message.starts_with(wanted), "{refused}");
        assert!(own.check_units("debian-local", true).is_ok());
        let merged = Inputs { ignition_merge: Some(text.to_vec()), ..Inputs::default() };
        let refused = merged.check_units("micro", false).unwrap_err();
        assert!(refused.message.starts_with("--ignition-merge has units"), "{refused}");
        let files = br#"{ "storage": { "files": [] }, "systemd": { "units": [] } }"#;
        for bytes in [&files[..], b"not JSON"] {
            let own = Inputs { own_ignition: Some(bytes.to_vec()), ..Inputs::default() };
            assert!(own.check_units("micro", false).is_ok());
        }
    }

    #[test]
    fn own_ignition_is_all_there_is() {
        let own = Inputs { own_ignition: Some(Vec::new()), ..Inputs::default() };
        assert_eq!(own.decide(Provisioner::CloudInit).unwrap(), Provisioning::Own);
    }
}
