//! The columns of lsns(8).

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Ns,
    Type,
    Path,
    Nprocs,
    Pid,
    Ppid,
    Command,
    Uid,
    User,
    Netnsid,
    Nsfs,
    Pns,
    Ons,
}

impl Column {
    pub const ALL: [Self; 13] = [
        Self::Ns,
        Self::Type,
        Self::Path,
        Self::Nprocs,
        Self::Pid,
        Self::Ppid,
        Self::Command,
        Self::Uid,
        Self::User,
        Self::Netnsid,
        Self::Nsfs,
        Self::Pns,
        Self::Ons,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Ns => "NS",
            Self::Type => "TYPE",
            Self::Path => "PATH",
            Self::Nprocs => "NPROCS",
            Self::Pid => "PID",
            Self::Ppid => "PPID",
            Self::Command => "COMMAND",
            Self::Uid => "UID",
            Self::User => "USER",
            Self::Netnsid => "NETNSID",
            Self::Nsfs => "NSFS",
            Self::Pns => "PNS",
            Self::Ons => "ONS",
        }
    }

    /// What it tells.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ns => "namespace, by its inode number",
            Self::Type => "kind of namespace",
            Self::Path => "path of the namespace in /proc",
            Self::Nprocs => "number of its processes",
            Self::Pid => "lowest number of a process in it",
            Self::Ppid => "parent of that process",
            Self::Command => "command line of that process",
            Self::Uid => "user of that process, by number",
            Self::User => "user of that process",
            Self::Netnsid => "id of a network namespace to the network subsystem",
            Self::Nsfs => "files that the namespace is bound to",
            Self::Pns => "parent of a PID or user namespace",
            Self::Ons => "user namespace that owns it",
        }
    }

    /// Names and meanings, one column a line.
    pub fn list() -> String {
        Self::ALL.into_iter().map(|c| format!("{:>9}  {}\n", c.name(), c.meaning())).collect()
    }

    /// The column of this name, in capitals or not.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.name().eq_ignore_ascii_case(name))
    }

    /// How wide it is at least where anything is wider than its name.
    pub const fn hint(self) -> usize {
        match self {
            Self::Ns | Self::Pns | Self::Ons => 10,
            Self::Type | Self::Nprocs | Self::Pid | Self::Ppid => 5,
            _ => 0,
        }
    }

    pub const fn is_right(self) -> bool {
        matches!(
            self,
            Self::Ns
                | Self::Nprocs
                | Self::Pid
                | Self::Ppid
                | Self::Uid
                | Self::Netnsid
                | Self::Pns
                | Self::Ons
        )
    }

    /// Whether JSON has it as a number.
    pub const fn is_number(self) -> bool {
        self.is_right() && !matches!(self, Self::Netnsid)
    }
}
