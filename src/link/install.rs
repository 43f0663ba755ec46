//! Attaching to the guest's agent, and putting ours there when it is missing
//! or another one: upgrading nsvm upgrades the agent.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest, Sha256};
use ssh2::{Channel, Session};

use super::session::{self, Connected, during};
use super::{LinkError, Target};
use crate::protocol::hello::{Hello, PROTOCOL, Scan};

/// Where the agent lives in every guest: writable even where /usr is not.
pub const AGENT: &str = "/usr/local/libexec/nsvm-agent";
const SCRIPT: &str = include_str!("../../machine-config/guest/install-agent.sh");
const UNIT: &str = include_str!("../../machine-config/guest/nsvm-agent.service");

/// The agent we would install: a static Linux program, not kept in memory, and
/// its digest.
#[derive(Debug, Clone)]
pub struct AgentBinary {
    path: PathBuf,
    sha256: String,
}

impl AgentBinary {
    pub fn read(path: &Path) -> Result<Self, LinkError> {
        let sha256 = copy(path, &mut io::sink())?;
        Ok(Self { path: path.to_owned(), sha256 })
    }

    /// Writes what was read, read again; an error when it is another file by now.
    pub(super) fn write_to(&self, out: &mut impl Write) -> Result<(), LinkError> {
        if copy(&self.path, out)? == self.sha256 {
            return Ok(());
        }
        Err(LinkError::AgentChanged { path: self.path.display().to_string() })
    }

    /// Lower-case hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// Copies the file piece by piece, so that memory does not grow by it; its
/// digest.
fn copy(path: &Path, out: &mut impl Write) -> Result<String, LinkError> {
    const PIECE: usize = 64 * 1024;
    let failed = |source| LinkError::AgentFile { path: path.display().to_string(), source };
    let mut file = File::open(path).map_err(failed)?;
    let (mut digest, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece).map_err(failed)? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => {
                digest.update(&piece[..count]);
                out.write_all(&piece[..count])
                    .map_err(|e| LinkError::Install(format!("{UPLOADING}: {e}")))?;
            }
        }
    }
}

/// A channel whose other end is the agent, just after its greeting.
pub(super) struct Attached {
    pub connected: Connected,
    pub channel: Channel,
    pub hello: Hello,
    /// Bytes that came after the greeting.
    pub rest: Vec<u8>,
}

/// Connects and attaches; installs the agent in between when needed.
pub(super) fn attach(
    target: &Target,
    agent: &AgentBinary,
    end: Instant,
) -> Result<Attached, LinkError> {
    let connected = session::connect(target, end)?;
    let user = &target.user;
    match greet(&connected.session, user, end) {
        Ok(greeted) => match judge(&greeted.hello, agent) {
            Verdict::Stays => return Ok(attached(connected, greeted)),
            Verdict::Replaced => {
                tracing::info!(found = greeted.hello.sha256, "another agent is installed");
            }
            Verdict::Foreign => return Err(protocol(&greeted.hello)),
        },
        Err(LinkError::NoAgent(reason)) => tracing::info!(reason, "no agent answers yet"),
        Err(e) => return Err(e),
    }
    install(&connected.session, user, agent, end)?;
    let greeted = greet(&connected.session, user, end)?;
    if greeted.hello.sha256 != agent.sha256 {
        return Err(LinkError::Install("another agent than the installed one answers".into()));
    }
    if greeted.hello.protocol != PROTOCOL {
        return Err(protocol(&greeted.hello));
    }
    Ok(attached(connected, greeted))
}

/// What becomes of the agent that answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stays,
    Replaced,
    /// Neither can it be replaced nor spoken to.
    Foreign,
}

/// Another agent stays while something runs there that would not outlive it.
pub(super) fn judge(hello: &Hello, agent: &AgentBinary) -> Verdict {
    let speaks = hello.protocol == PROTOCOL;
    match hello.sha256 == agent.sha256 {
        true if speaks => Verdict::Stays,
        // Its file was replaced, and it was not restarted.
        true => Verdict::Replaced,
        false if !hello.busy => Verdict::Replaced,
        false if speaks => Verdict::Stays,
        false => Verdict::Foreign,
    }
}

fn protocol(hello: &Hello) -> LinkError {
    LinkError::Protocol { theirs: hello.protocol, ours: PROTOCOL }
}

struct Greeted {
    channel: Channel,
    hello: Hello,
    rest: Vec<u8>,
}

fn attached(connected: Connected, greeted: Greeted) -> Attached {
    let Greeted { channel, hello, rest } = greeted;
    Attached { connected, channel, hello, rest }
}

/// Runs `attach` in the guest and reads the agent's greeting.
fn greet(session: &Session, user: &str, end: Instant) -> Result<Greeted, LinkError> {
    session::set_deadline(session, end);
    let doing = "attaching to the agent";
    let mut channel = session.channel_session().map_err(during(doing))?;
    channel.exec(&as_root(user, &format!("{AGENT} attach"))).map_err(during(doing))?;
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = channel
            .read(&mut buffer)
            .map_err(|e| LinkError::NoAgent(format!("no greeting came: {e}")))?;
        if n == 0 {
            return Err(gone(&mut channel));
        }
        seen.extend_from_slice(&buffer[..n]);
        match Hello::scan(&seen) {
            Scan::Incomplete => {}
            Scan::NotAnAgent(reason) => return Err(LinkError::NoAgent(reason)),
            Scan::Found(hello, used) => {
                return Ok(Greeted { channel, hello: *hello, rest: seen.split_off(used) });
            }
        }
    }
}

/// The command ended instead of greeting: its own words say why.
fn gone(channel: &mut Channel) -> LinkError {
    let stderr = session::read_stderr(channel);
    let _ = channel.wait_close();
    let status = channel.exit_status().unwrap_or(-1);
    LinkError::NoAgent(format!("`{AGENT} attach` ended with status {status}: {stderr}"))
}

/// Uploads over SFTP into the user's home, then lets a script running as root
/// check, move and start it.
fn install(
    session: &Session,
    user: &str,
    agent: &AgentBinary,
    end: Instant,
) -> Result<(), LinkError> {
    session::set_deadline(session, end);
    let upload = upload(session, agent)?;
    let path = upload.to_str().ok_or_else(|| LinkError::Install("odd home directory".into()))?;
    let command = format!("/bin/sh -s -- {} {}", quote(path), agent.sha256);
    let result = session::run(session, &as_root(user, &command), script(MAIN).as_bytes(), end)?;
    if result.status == 0 {
        return Ok(());
    }
    Err(LinkError::Install(format!("status {}: {}", result.status, result.stderr)))
}

/// What root's shell reads; `last` runs `main`. A function, so that a connection that
/// breaks in the middle runs nothing.
pub(super) fn script(last: &str) -> String {
    format!(
        "print_unit() {{\ncat <<'END_OF_UNIT'\n{UNIT}END_OF_UNIT\n}}\n\
         main() {{\n{SCRIPT}\n}}\n{last}; exit\n"
    )
}

/// With the arguments of the shell.
const MAIN: &str = "main \"$@\"";

const UPLOADING: &str = "uploading the agent";

fn upload(session: &Session, agent: &AgentBinary) -> Result<PathBuf, LinkError> {
    let sftp = session.sftp().map_err(during(UPLOADING))?;
    let home = sftp.realpath(Path::new(".")).map_err(during(UPLOADING))?;
    // Not `join`: the path is the guest's, whatever the host's separator is.
    let path = PathBuf::from(format!("{}/.nsvm-agent.upload", home.display()));
    let mut file = sftp.create(&path).map_err(during(UPLOADING))?;
    agent.write_to(&mut file)?;
    file.close().map_err(during(UPLOADING))?;
    Ok(path)
}

/// `command` as root: by itself, by sudo, or by doas, whichever there is.
fn as_root(user: &str, command: &str) -> String {
    if user == "root" {
        return format!("exec {command}");
    }
    format!(
        "if command -v sudo >/dev/null; then exec sudo -n {command}; fi; exec doas -n {command}"
    )
}

/// One word for a POSIX shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_agent_is_replaced_once_nothing_runs_there() {
        let agent = AgentBinary { path: PathBuf::new(), sha256: "ours".into() };
        let judged = |sha256: &str, protocol, busy| {
            let hello = Hello { protocol, sha256: sha256.into(), busy, ..Hello::example() };
            judge(&hello, &agent)
        };
        for busy in [false, true] {
            assert_eq!(judged("ours", PROTOCOL, busy), Verdict::Stays);
        }
        assert_eq!(judged("other", PROTOCOL, true), Verdict::Stays);
        assert_eq!(judged("other", PROTOCOL, false), Verdict::Replaced);
        for protocol in [PROTOCOL - 1, PROTOCOL + 1] {
            assert_eq!(judged("other", protocol, false), Verdict::Replaced);
            assert_eq!(judged("other", protocol, true), Verdict::Foreign);
        }
        let [older, newer] = [PROTOCOL - 1, PROTOCOL + 1]
            .map(|theirs| LinkError::Protocol { theirs, ours: PROTOCOL }.hint().unwrap());
        assert!(older.contains("older nsvm") && newer.contains("newer nsvm"));
    }

    #[test]
    fn root_needs_no_sudo() {
        assert_eq!(as_root("root", "x"), "exec x");
        assert!(as_root("core", "x").contains("exec sudo -n x"));
    }

    #[cfg(unix)]
    #[test]
    fn the_script_is_one_that_a_shell_understands() {
        use std::process::{Command, Stdio};
        let mut shell = Command::new("/bin/sh").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(script(MAIN).as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
    }

    #[test]
    fn quoting_survives_quotes() {
        assert_eq!(quote("/home/o'b"), r"'/home/o'\''b'");
    }

    #[test]
    fn an_agent_that_has_changed_is_not_installed_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        std::fs::write(&path, b"old").unwrap();
        let agent = AgentBinary::read(&path).unwrap();
        let mut out = Vec::new();
        agent.write_to(&mut out).unwrap();
        assert_eq!(out, b"old");
        std::fs::write(&path, b"new").unwrap();
        let changed = agent.write_to(&mut out).unwrap_err();
        assert!(changed.to_string().contains("is another one than"));
    }

    #[test]
    fn a_missing_agent_file_is_named() {
        let error = AgentBinary::read(Path::new("/nonexistent/agent")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/agent"), "{error}");
    }
}
