//! What a guest and its host say to each other over the port `nsvm.ready` when
//! the guest is frozen, to be the beginning of many machines, and when a copy of
//! it wakes up as one of them.
//!
//! ```text
//! guest: "frozen\n"             it is nobody's now, and can be saved
//! host:  one line of JSON       Owner
//! guest: "ready\n"              it is that machine
//!        "failed: REASON\n"     it is of no use
//! guest: "ready\n"              its sshd listens, as after a boot
//! ```

use serde::{Deserialize, Serialize};

/// The guest can be saved.
pub const FROZEN: &str = "frozen";

/// A copy is who it was told to be.
pub const READY: &str = "ready";

/// A copy is not, because of what follows.
pub const FAILED: &str = "failed: ";

/// An [`Owner`] is a few hundred bytes; a line that is longer is none.
pub const LINE_MAX: usize = 64 * 1024;

/// Who a copy is. None of it has a control character but the host key, which
/// has lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Nanoseconds since 1970.
    pub now: i64,
    /// For the kernel's random numbers, before anything else is made of them.
    pub seed: Vec<u8>,
    pub host_name: String,
    /// 32 hex digits (machine-id(5)).
    pub machine_id: String,
    /// A name of the tz database.
    pub time_zone: String,
    /// In OpenSSH's form.
    pub host_key: String,
    /// `ssh-ed25519 AAAA... comment`, both of them.
    pub host_key_public: String,
    pub user_key: String,
}

impl Owner {
    /// The line for the guest, with its end.
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("plain fields serialize");
        line.push('\n');
        line
    }

    /// The owner in a line; else why it is none.
    pub fn parse(line: &str) -> Result<Self, String> {
        let owner: Self = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let plain = [
            &owner.host_name,
            &owner.machine_id,
            &owner.time_zone,
            &owner.host_key_public,
            &owner.user_key,
        ];
        if plain.iter().any(|text| text.is_empty() || text.chars().any(char::is_control)) {
            return Err("one of its words is empty or has control characters".into());
        }
        if owner.time_zone.split('/').any(|part| part.is_empty() || part == "..") {
            return Err("its time zone is no name".into());
        }
        Ok(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            now: 1,
            seed: vec![0, 255],
            host_name: "a".into(),
            machine_id: "0f".repeat(16),
            time_zone: "Europe/Berlin".into(),
            host_key: "-----BEGIN\nx\n".into(),
            host_key_public: "ssh-ed25519 H a".into(),
            user_key: "ssh-ed25519 U a".into(),
        }
    }

    #[test]
    fn an_owner_is_one_line() {
        let line = owner().line();
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        assert_eq!(Owner::parse(&line), Ok(owner()));
    }

    #[test]
    fn what_would_end_up_elsewhere_is_refused() {
        for wrong in [
            Owner { host_name: String::new(), ..owner() },
            Owner { user_key: "a\nb".into(), ..owner() },
            Owner { time_zone: "../../etc/shadow".into(), ..owner() },
            Owner { time_zone: "/etc".into(), ..owner() },
        ] {
            assert!(Owner::parse(&wrong.line()).is_err(), "{wrong:?}");
        }
        assert!(Owner::parse("ready").is_err());
    }
}
