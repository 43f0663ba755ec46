//! The environment of a program: that of a clean login, and what was asked
//! for.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::accounts::Account;
use crate::protocol::request::ExecRequest;

/// Everyone's: namespaces make root of a plain user, who then looks for
/// `ip` and `mount`.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What of the guest a login environment depends on.
pub struct Login<'a> {
    pub account: &'a Account,
    /// The content of /etc/environment.
    pub system: &'a str,
    /// What the host passed at this start (`machine-config/guest/environment.sh`).
    pub host: &'a [u8],
    /// `/run/user/UID`, where it exists.
    pub runtime_dir: Option<String>,
}

/// Variables by name; later ones replace earlier ones.
pub type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// The agent's own variables, and what the request adds.
pub fn kept(own: impl Iterator<Item = (OsString, OsString)>, request: &ExecRequest) -> Variables {
    let bytes = |text: OsString| text.into_vec();
    let mut all: Variables = own.map(|(name, value)| (bytes(name), bytes(value))).collect();
    all.extend(request.env.iter().map(|(name, value)| (name.to_vec(), value.to_vec())));
    all
}

/// The variables for a program of `request` after a clean login.
pub fn variables(login: &Login<'_>, request: &ExecRequest) -> Variables {
    let mut all = Variables::new();
    let mut set = |name: &[u8], value: &[u8]| {
        all.insert(name.to_vec(), value.to_vec());
    };
    set(b"PATH", PATH.as_bytes());
    set(b"LANG", b"C.UTF-8");
    for (name, value) in login.system.lines().filter_map(assignment) {
        set(name.as_bytes(), value.as_bytes());
    }
    for (name, value) in login.host.split(|&byte| byte == b'\n').filter_map(exact) {
        set(name, value);
    }
    let account = login.account;
    let name = account.name.clone().unwrap_or_else(|| account.credentials.uid.to_string());
    set(b"USER", name.as_bytes());
    set(b"LOGNAME", name.as_bytes());
    set(b"HOME", account.home.as_bytes());
    set(b"SHELL", account.shell.as_bytes());
    if let Some(dir) = &login.runtime_dir {
        set(b"XDG_RUNTIME_DIR", dir.as_bytes());
    }
    if let Some(tty) = &request.tty {
        set(b"TERM", &tty.term);
    }
    for (name, value) in &request.env {
        set(name, value);
    }
    all
}

/// A line of /etc/environment as `pam_env` reads the simple ones:
/// `NAME=value`, `NAME="value"`, with or without `export`.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let plain = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    let quoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    Some((name, quoted('"').or_else(|| quoted('\'')).unwrap_or(value)))
}

/// A line `NAME=value` whose every byte counts.
fn exact(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|&byte| byte == b'=').filter(|&at| at > 0)?;
    Some((&line[..at], &line[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::plan::Credentials;
    use crate::protocol::request::{Bytes, Size, Terminal};

    fn account() -> Account {
        Account {
            name: Some("core".into()),
            home: "/var/home/core".into(),
            shell: "/bin/zsh".into(),
            credentials: Credentials { uid: 1000, gid: 1000, groups: vec![] },
        }
    }

    fn lines(system: &str, request: &ExecRequest) -> Vec<String> {
        with_host(system, b"", request)
    }

    fn with_host(system: &str, host: &[u8], request: &ExecRequest) -> Vec<String> {
        let account = account();
        let runtime_dir = Some("/run/user/1000".to_owned());
        let login = Login { account: &account, system, host, runtime_dir };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let line = |(name, value)| format!("{}={}", text(name), text(value));
        variables(&login, request).into_iter().map(line).collect()
    }

    #[test]
    fn the_hosts_variables_come_byte_for_byte_and_before_the_requests() {
        let mut request = ExecRequest::default();
        let bytes = |text: &str| Bytes::from(text.as_bytes().to_vec());
        request.env = vec![(bytes("no_proxy"), bytes("mine"))];
        let host = b"HTTP_PROXY=\"http://u:$x=@h\" \nno_proxy=theirs\nUSER=x\n=y\n\n";
        let all = with_host("HTTP_PROXY=system\n", host, &request);
        for line in ["HTTP_PROXY=\"http://u:$x=@h\" ", "no_proxy=mine", "USER=core"] {
            assert!(all.contains(&line.to_owned()), "{line} in {all:?}");
        }
    }

    #[test]
    fn a_login_has_these_and_no_more() {
        assert_eq!(
            lines("", &ExecRequest::default()),
            [
                "HOME=/var/home/core",
                "LANG=C.UTF-8",
                "LOGNAME=core",
                &format!("PATH={PATH}"),
                "SHELL=/bin/zsh",
                "USER=core",
                "XDG_RUNTIME_DIR=/run/user/1000",
            ]
        );
    }

    #[test]
    fn the_system_can_set_the_path_but_not_the_user_and_a_request_sets_all() {
        let mut request = ExecRequest::default();
        let bytes = |text: &str| Bytes::from(text.as_bytes().to_vec());
        request.env = vec![(bytes("LANG"), bytes("de")), (bytes("LANG"), bytes("fr"))];
        request.tty = Some(Terminal { term: bytes("xterm"), size: Size::default() });
        let all = lines("# no\nexport PATH=\"/p\"\nUSER=x\nA B=c\nHTTP=y=z\n", &request);
        for line in ["PATH=/p", "USER=core", "HTTP=y=z", "LANG=fr", "TERM=xterm"] {
            assert!(all.contains(&line.to_owned()), "{line} in {all:?}");
        }
        assert_eq!(all.len(), 9);
    }
}
