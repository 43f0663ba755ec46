//! What every guest gets, whoever provisions it: the one description.
//!
//! What Ignition and cloud-init each have words or a moment of their own for
//! (accounts, lingering, host key, host name, time zone) stands in [`Guest`];
//! everything else is files and units, so that both do the same. The texts are
//! in `machine-config/guest/`.

use super::keys::KeyPair;
use crate::machine::units::MiB;

/// A guest as it shall be after its first boot.
pub struct Guest<'a> {
    pub hostname: &'a str,
    pub username: &'a str,
    /// Of the user; none: what the guest gives.
    pub uid: Option<u32>,
    /// The machine's own key of its user, `ssh-ed25519 AAAA...`.
    pub authorized_key: &'a str,
    pub host_key: &'a KeyPair,
    /// A name of the tz database.
    pub time_zone: &'a str,
    /// None when zero.
    pub swap: MiB,
    /// Certificates to trust, PEM, one each.
    pub authorities: &'a [String],
}

/// A file in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    pub path: String,
    pub mode: u32,
    pub text: String,
}

/// A systemd unit in the guest, enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestUnit {
    pub name: &'static str,
    pub text: &'static str,
}

/// Groups of the user; the first that exists grants sudo (Debian: sudo,
/// Fedora: wheel).
pub const GROUPS: [&str; 2] = ["sudo", "wheel"];

pub const SHELL: &str = "/bin/bash";

/// Ids for the user's own user namespaces (subuid(5)); the range is podman's.
const SUBID_RANGE: &str = "100000:1000000";

macro_rules! text {
    ($name:literal) => {
        include_str!(concat!("../../machine-config/guest/", $name))
    };
}

macro_rules! unit {
    ($name:literal) => {
        GuestUnit { name: $name, text: text!($name) }
    };
}

/// Takes over the variables that the host passed at this start.
pub const ENVIRONMENT: &str = text!("environment.sh");

impl Guest<'_> {
    /// Every file that neither provisioner has words of its own for.
    pub fn files(&self) -> Vec<GuestFile> {
        let user = self.username;
        let mut files = vec![
            // Ends in no dot: sudo skips files whose name has one.
            file("/etc/sudoers.d/90-nsvm", 0o440, format!("{user} ALL=(ALL) NOPASSWD: ALL\n")),
            file("/etc/subuid", 0o644, format!("{user}:{SUBID_RANGE}\n")),
            file("/etc/subgid", 0o644, format!("{user}:{SUBID_RANGE}\n")),
            file("/etc/systemd/system/user@.service.d/90-nsvm.conf", 0o644, text!("delegate.conf")),
            file("/etc/sysctl.d/90-nsvm.conf", 0o644, text!("sysctl.conf")),
            file("/etc/ssh/sshd_config.d/20-nsvm-machine.conf", 0o600, text!("sshd.conf")),
            file("/etc/nsvm/environment.sh", 0o644, ENVIRONMENT),
            file("/etc/nsvm/settings.sh", 0o644, text!("settings.sh")),
            file("/etc/profile.d/nsvm-environment.sh", 0o644, text!("profile.sh")),
        ];
        files.extend(self.swap_files());
        files.extend(self.trust_files());
        files
    }

    /// What runs at boot; the one that tells the host comes last.
    pub fn units(&self) -> Vec<GuestUnit> {
        let mut units = vec![unit!("nsvm-environment.service"), unit!("nsvm-settings.service")];
        if self.swap.0 > 0 {
            units.push(unit!("nsvm-swap.service"));
        }
        if !self.authorities.is_empty() {
            units.push(unit!("nsvm-trust.service"));
        }
        units.push(unit!("nsvm-ready.service"));
        units
    }

    fn swap_files(&self) -> Vec<GuestFile> {
        let mib = self.swap.0;
        if mib == 0 {
            return Vec::new();
        }
        vec![
            file("/etc/nsvm/swap.sh", 0o644, format!("mib={mib}\n{}", text!("swap.sh"))),
            // Read by zram-generator alone, where the image has it.
            file(
                "/etc/systemd/zram-generator.conf",
                0o644,
                format!("[zram0]\nzram-size = {mib}\n"),
            ),
        ]
    }

    fn trust_files(&self) -> Vec<GuestFile> {
        if self.authorities.is_empty() {
            return Vec::new();
        }
        let certificate =
            |(at, pem): (usize, &String)| file(&format!("/etc/nsvm/ca/{at}.crt"), 0o644, pem);
        let mut files: Vec<_> = self.authorities.iter().enumerate().map(certificate).collect();
        files.push(file("/etc/nsvm/trust.sh", 0o644, text!("trust.sh")));
        files
    }
}

fn file(path: &str, mode: u32, text: impl Into<String>) -> GuestFile {
    GuestFile { path: path.to_owned(), mode, text: text.into() }
}

/// A guest with every feature, for the tests of the renderers.
#[cfg(test)]
pub(super) fn with_all<T>(username: &str, look: impl FnOnce(&Guest) -> T) -> T {
    let host_key = KeyPair { private: "PRIVATE\n".into(), public: "ssh-ed25519 H".into() };
    look(&Guest {
        hostname: "t1",
        username,
        uid: Some(1234),
        authorized_key: "ssh-ed25519 U",
        host_key: &host_key,
        time_zone: "Asia/Kathmandu",
        swap: MiB(64),
        authorities: &["PEM 0\n".to_owned(), "PEM 1\n".to_owned()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_is_not_there() {
        with_all("core", |all| {
            let plain = Guest { swap: MiB(0), authorities: &[], ..*all };
            let names = |guest: &Guest| guest.units().iter().map(|u| u.name).collect::<Vec<_>>();
            assert_eq!(
                names(&plain),
                ["nsvm-environment.service", "nsvm-settings.service", "nsvm-ready.service"]
            );
            assert_eq!(names(all).len(), 5);
            let absent = |f: &GuestFile| !f.path.contains("swap") && !f.path.contains("/ca/");
            assert!(plain.files().iter().all(absent));
        });
    }

    #[test]
    fn each_script_that_a_unit_runs_is_among_the_files() {
        const RUNS: &str = "ExecStart=/bin/sh ";
        with_all("core", |guest| {
            let files = guest.files();
            for unit in guest.units() {
                let script = unit.text.lines().find_map(|line| line.strip_prefix(RUNS));
                assert!(script.is_none_or(|script| files.iter().any(|f| f.path == script)));
                let by_shell = unit.text.contains("ExecStart=-/bin/sh -c");
                assert!(script.is_some() != by_shell, "{}", unit.name);
            }
        });
    }

    #[test]
    fn the_size_stands_before_the_script_that_uses_it() {
        let mut files = Vec::new();
        with_all("core", |guest| files = guest.files());
        let script = files.iter().find(|f| f.path == "/etc/nsvm/swap.sh").unwrap();
        assert!(script.text.starts_with("mib=64\n#"));
        assert!(script.text.contains("${mib}MiB"));
    }
}
