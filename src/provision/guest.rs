//! What every guest gets, whoever provisions it: the one description.

use super::keys::KeyPair;

/// A guest as it shall be after its first boot.
pub struct Guest<'a> {
    pub hostname: &'a str,
    pub username: &'a str,
    /// The machine's own key of its user, `ssh-ed25519 AAAA...`.
    pub authorized_key: &'a str,
    pub host_key: &'a KeyPair,
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

/// Ids for the user's own user namespaces (subuid(5)); the range is podman's.
const SUBID_RANGE: &str = "100000:1000000";

pub const UNITS: [GuestUnit; 1] = [GuestUnit {
    name: "nsvm-ready.service",
    text: include_str!("../../machine-config/guest/nsvm-ready.service"),
}];

impl Guest<'_> {
    /// Every file, in the order they are written.
    pub fn files(&self) -> Vec<GuestFile> {
        let user = self.username;
        let file = |path: &str, mode, text: &str| GuestFile {
            path: path.to_owned(),
            mode,
            text: text.to_owned(),
        };
        vec![
            file("/etc/ssh/ssh_host_ed25519_key", 0o600, &self.host_key.private),
            file("/etc/ssh/ssh_host_ed25519_key.pub", 0o644, &line(&self.host_key.public)),
            file("/etc/hostname", 0o644, &line(self.hostname)),
            // Ends in no dot: sudo skips files whose name has one.
            file("/etc/sudoers.d/90-nsvm", 0o440, &format!("{user} ALL=(ALL) NOPASSWD: ALL\n")),
            file("/etc/subuid", 0o644, &format!("{user}:{SUBID_RANGE}\n")),
            file("/etc/subgid", 0o644, &format!("{user}:{SUBID_RANGE}\n")),
            // loginctl enable-linger writes just this file (logind.conf(5)).
            file(&format!("/var/lib/systemd/linger/{user}"), 0o644, ""),
            file(
                "/etc/systemd/system/user@.service.d/90-nsvm.conf",
                0o644,
                include_str!("../../machine-config/guest/delegate.conf"),
            ),
            file(
                "/etc/sysctl.d/90-nsvm.conf",
                0o644,
                include_str!("../../machine-config/guest/sysctl.conf"),
            ),
            file(
                "/etc/ssh/sshd_config.d/20-nsvm-machine.conf",
                0o600,
                include_str!("../../machine-config/guest/sshd.conf"),
            ),
        ]
    }
}

fn line(text: &str) -> String {
    format!("{text}\n")
}
