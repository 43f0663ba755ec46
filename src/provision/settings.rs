//! What a guest is told at each start: lines that `settings.sh` reads, whoever
//! provisioned it.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine};

use crate::machine::volume::Volume;

/// What is told. All of it is without control characters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings<'a> {
    pub host_name: Option<&'a str>,
    pub time_zone: Option<&'a str>,
    pub identity: Option<Identity<'a>>,
    pub volumes: &'a [Volume],
}

/// Who a guest is that was copied from another one.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// 32 hex digits (machine-id(5)).
    pub machine_id: &'a str,
    /// In OpenSSH's form.
    pub host_key: &'a str,
    /// The user's key of the guest it was copied from, `ssh-ed25519 AAAA...`.
    pub old_user_key: &'a str,
    pub user_key: &'a str,
}

/// The name by which a guest mounts the volume at this place of the list.
pub fn tag(index: usize) -> String {
    format!("nsvm{index}")
}

/// The lines; `None` when there is nothing to tell.
pub fn render(settings: &Settings<'_>) -> Option<String> {
    let mut text = String::new();
    let mut line = |word: &str, value: &str| {
        let _ = writeln!(text, "{word} {value}");
    };
    if let Some(identity) = &settings.identity {
        line("machine-id", identity.machine_id);
        line("host-key", &BASE64_STANDARD.encode(identity.host_key));
        let old: Vec<&str> = identity.old_user_key.split_whitespace().take(2).collect();
        line("user-key", &format!("{} {}", old.join(" "), identity.user_key));
    }
    if let Some(name) = settings.host_name {
        line("host-name", name);
    }
    if let Some(zone) = settings.time_zone {
        line("time-zone", zone);
    }
    // One that lies in another is mounted after it.
    let mut volumes: Vec<(usize, &Volume)> = settings.volumes.iter().enumerate().collect();
    volumes.sort_by_key(|(_, volume)| &volume.target);
    for (index, volume) in volumes {
        let mode = if volume.read_only { "ro" } else { "rw" };
        line("volume", &format!("{} {mode} {}", tag(index), volume.target));
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_tell_is_no_file() {
        assert_eq!(render(&Settings::default()), None);
    }

    #[test]
    fn outer_volumes_come_first_and_keep_their_tags() {
        let volume = |target: &str, read_only| Volume {
            source: "/s".into(),
            target: target.into(),
            read_only,
        };
        let volumes = [volume("/a/b  c ", true), volume("/a", false)];
        let text = render(&Settings { volumes: &volumes, ..Settings::default() }).unwrap();
        assert_eq!(text, "volume nsvm1 rw /a\nvolume nsvm0 ro /a/b  c \n");
    }

    #[test]
    fn a_copy_learns_who_it_is() {
        let identity = Identity {
            machine_id: "00ff",
            host_key: "K\n",
            old_user_key: "ssh-ed25519 OLD nsvm a",
            user_key: "ssh-ed25519 NEW nsvm b",
        };
        let settings =
            Settings { identity: Some(identity), host_name: Some("b"), ..Settings::default() };
        let wanted = "machine-id 00ff\nhost-key Swo=\n\
                      user-key ssh-ed25519 OLD ssh-ed25519 NEW nsvm b\nhost-name b\n";
        assert_eq!(render(&settings).unwrap(), wanted);
    }
}
