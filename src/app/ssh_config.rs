//! What other SSH programs need to reach a machine: rsync, editors, git.

use std::path::PathBuf;

use super::Context;
use super::inspect::ssh_port;
use crate::fs::{Access, write_atomic};
use crate::machine::name::MachineName;
use crate::store;

/// How to reach a machine's SSH server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAccess {
    /// Of the `Host` entry, and the name that the host key is known by: the
    /// port may change at a start.
    pub alias: String,
    pub port: u16,
    pub user: String,
    pub identity: PathBuf,
    pub known_hosts: PathBuf,
    /// The host key is known beforehand; else the first one shown is kept.
    pub pinned: bool,
}

/// How to reach the machine; writes its known_hosts file where its host key is
/// known. The port is that of the current or the last run.
pub fn ssh_access(context: &Context, name: &MachineName) -> anyhow::Result<SshAccess> {
    let config = context.store.load(name)?;
    let paths = context.store.paths(name);
    let run = context.store.run_record(name);
    let alias = format!("nsvm-{name}");
    let known_hosts = paths.known_hosts();
    if let Some(key) = &config.ssh.host_key {
        // Without the comment, which says who made it.
        let key: Vec<_> = key.split_whitespace().take(2).collect();
        let line = format!("{alias} {}\n", key.join(" "));
        write_atomic(&known_hosts, line.as_bytes(), Access::Owner)
            .map_err(store::io_error("writing", &known_hosts))?;
    }
    Ok(SshAccess {
        port: ssh_port(&config, run.as_ref(), &context.store.history(name)),
        user: if config.rootful { "root".to_owned() } else { config.ssh.username },
        identity: paths.identity(),
        pinned: config.ssh.host_key.is_some(),
        known_hosts,
        alias,
    })
}

impl SshAccess {
    /// Options of ssh_config(5), in the order in which people read them. Other
    /// keys and the user's own files play no part.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let path = |path: &PathBuf| quoted(&path.display().to_string());
        vec![
            ("HostName", "127.0.0.1".to_owned()),
            ("Port", self.port.to_string()),
            ("User", self.user.clone()),
            ("IdentityFile", path(&self.identity)),
            ("IdentitiesOnly", "yes".to_owned()),
            ("IdentityAgent", "none".to_owned()),
            ("HostKeyAlias", self.alias.clone()),
            ("UserKnownHostsFile", path(&self.known_hosts)),
            ("GlobalKnownHostsFile", "none".to_owned()),
            ("StrictHostKeyChecking", if self.pinned { "yes" } else { "accept-new" }.to_owned()),
            ("PasswordAuthentication", "no".to_owned()),
        ]
    }

    /// A `Host` entry of a file that ssh reads.
    pub fn entry(&self) -> String {
        let options = self.options().into_iter().map(|(name, value)| format!("  {name} {value}\n"));
        format!("Host {}\n{}", self.alias, options.collect::<String>())
    }

    /// Words for a command line, without `ssh` and the host.
    pub fn arguments(&self) -> Vec<String> {
        let words = self.options().into_iter();
        words.flat_map(|(name, value)| ["-o".to_owned(), format!("{name}={value}")]).collect()
    }
}

/// As ssh_config(5) reads it: quotes keep spaces, and a percent sign that
/// begins no token is doubled.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('%', "%%").replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_spaces_and_percent_signs_arrive() {
        assert_eq!(quoted("/Users/a b/100%/id"), "\"/Users/a b/100%%/id\"");
        assert_eq!(quoted(r#"C:\x"y"#), r#""C:\\x\"y""#);
    }

    #[test]
    fn an_entry_knows_its_host_key_by_a_name_that_stays() {
        let access = SshAccess {
            alias: "nsvm-t1".into(),
            port: 2222,
            user: "core".into(),
            identity: "/k/id".into(),
            known_hosts: "/k/known".into(),
            pinned: true,
        };
        let entry = access.entry();
        assert!(entry.starts_with("Host nsvm-t1\n  HostName 127.0.0.1\n  Port 2222\n"), "{entry}");
        assert!(entry.contains("  StrictHostKeyChecking yes\n"), "{entry}");
        let first_seen = SshAccess { pinned: false, ..access };
        assert!(first_seen.entry().contains("accept-new"));
        assert_eq!(first_seen.arguments()[..2], ["-o", "HostName=127.0.0.1"]);
    }
}
