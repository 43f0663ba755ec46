//! The eight kinds of namespaces.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A kind of namespace (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "host", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Mount,
    Uts,
    Ipc,
    Net,
    Pid,
    User,
    Cgroup,
    Time,
}

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds(u8);

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Mount,
        Self::Uts,
        Self::Ipc,
        Self::Net,
        Self::Pid,
        Self::User,
        Self::Cgroup,
        Self::Time,
    ];

    /// The long option of unshare(1), without dashes.
    pub const fn option(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// The file below `/proc/PID/ns`.
    pub const fn proc_name(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            other => other.option(),
        }
    }

    /// The short option of unshare(1) and nsenter(1), without the dash.
    pub const fn short_option(self) -> char {
        match self {
            Self::Mount => 'm',
            Self::Uts => 'u',
            Self::Ipc => 'i',
            Self::Net => 'n',
            Self::Pid => 'p',
            Self::User => 'U',
            Self::Cgroup => 'C',
            Self::Time => 'T',
        }
    }

    /// The file below `/proc/PID/ns` of the namespace that children get: for
    /// two kinds unshare(2) leaves the caller where it is.
    pub const fn proc_name_for_children(self) -> &'static str {
        match self {
            Self::Pid => "pid_for_children",
            Self::Time => "time_for_children",
            other => other.proc_name(),
        }
    }

    /// The file below `/proc/sys/user` that limits their number for each user
    /// (namespaces(7)).
    pub const fn limit_name(self) -> &'static str {
        match self {
            Self::Mount => "max_mnt_namespaces",
            Self::Uts => "max_uts_namespaces",
            Self::Ipc => "max_ipc_namespaces",
            Self::Net => "max_net_namespaces",
            Self::Pid => "max_pid_namespaces",
            Self::User => "max_user_namespaces",
            Self::Cgroup => "max_cgroup_namespaces",
            Self::Time => "max_time_namespaces",
        }
    }

    /// The name of its flag in `linux/sched.h`.
    pub const fn clone_name(self) -> &'static str {
        match self {
            Self::Mount => "CLONE_NEWNS",
            Self::Uts => "CLONE_NEWUTS",
            Self::Ipc => "CLONE_NEWIPC",
            Self::Net => "CLONE_NEWNET",
            Self::Pid => "CLONE_NEWPID",
            Self::User => "CLONE_NEWUSER",
            Self::Cgroup => "CLONE_NEWCGROUP",
            Self::Time => "CLONE_NEWTIME",
        }
    }

    /// The manual page that describes it.
    pub const fn manual(self) -> &'static str {
        match self {
            Self::Mount => "mount_namespaces(7)",
            Self::Uts => "uts_namespaces(7)",
            Self::Ipc => "ipc_namespaces(7)",
            Self::Net => "network_namespaces(7)",
            Self::Pid => "pid_namespaces(7)",
            Self::User => "user_namespaces(7)",
            Self::Cgroup => "cgroup_namespaces(7)",
            Self::Time => "time_namespaces(7)",
        }
    }

    /// What a process in a namespace of its own no longer shares.
    pub const fn isolates(self) -> &'static str {
        match self {
            Self::Mount => "mount points",
            Self::Uts => "host name and NIS domain name",
            Self::Ipc => "System V IPC, POSIX message queues",
            Self::Net => "network devices, addresses, routes, ports",
            Self::Pid => "process ids",
            Self::User => "user and group ids, capabilities",
            Self::Cgroup => "the cgroup root directory",
            Self::Time => "boot and monotonic clocks",
        }
    }

    /// The flag of unshare(2), from `linux/sched.h`.
    pub const fn clone_flag(self) -> u32 {
        match self {
            Self::Mount => 0x0002_0000,
            Self::Uts => 0x0400_0000,
            Self::Ipc => 0x0800_0000,
            Self::Net => 0x4000_0000,
            Self::Pid => 0x2000_0000,
            Self::User => 0x1000_0000,
            Self::Cgroup => 0x0200_0000,
            Self::Time => 0x0000_0080,
        }
    }
}

impl Kinds {
    pub const NONE: Self = Self(0);

    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    pub fn insert(&mut self, kind: Kind) {
        *self = self.with(kind);
    }

    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// Those of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }

    /// The flags of unshare(2) for all of them.
    pub fn clone_flags(self) -> u32 {
        self.iter().fold(0, |flags, kind| flags | kind.clone_flag())
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<T: IntoIterator<Item = Kind>>(kinds: T) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// On the wire, the flags of unshare(2): they never change their meaning.
impl Serialize for Kinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.clone_flags())
    }
}

impl<'de> Deserialize<'de> for Kinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let flags = u32::deserialize(deserializer)?;
        let kinds: Self =
            Kind::ALL.into_iter().filter(|kind| flags & kind.clone_flag() != 0).collect();
        if kinds.clone_flags() == flags {
            return Ok(kinds);
        }
        Err(serde::de::Error::custom(format!("unknown namespace flags in {flags:#x}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let kinds: Kinds = [Kind::User, Kind::Pid].into_iter().collect();
        assert!(kinds.contains(Kind::User) && !kinds.contains(Kind::Net));
        assert_eq!(kinds.clone_flags(), 0x3000_0000);
        assert_eq!(Kinds::from_iter(Kind::ALL).iter().count(), 8);
    }

    #[test]
    fn the_wire_refuses_flags_it_does_not_know() {
        for kind in Kind::ALL {
            let kinds = Kinds::NONE.with(kind);
            let bytes = rmp_serde::to_vec(&kinds).unwrap();
            assert_eq!(rmp_serde::from_slice::<Kinds>(&bytes).unwrap(), kinds);
        }
        let bytes = rmp_serde::to_vec(&0x1u32).unwrap();
        assert!(rmp_serde::from_slice::<Kinds>(&bytes).is_err());
    }
}
