//! Requests and replies of the control endpoint.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::machine::event::{Event, RunState};

/// The version of this protocol. Requests, replies and fields are only added
/// to one; what a client does not know it leaves alone.
pub const PROTOCOL: u32 = 1;

/// A longer line is no request of ours.
pub const MAX_LINE: usize = 64 * 1024;

/// What a client wants; one a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Follow the start: events so far and to come, until it is decided.
    Watch,
    /// Give up a start that is still going on, and undo it.
    Cancel,
    /// A stream to the guest agent.
    Session,
    /// Run a program in the guest: `stdout`, `stderr`, then `exit`. Lines of
    /// [`Input`] may follow; the client's end hangs up on the program.
    Exec(Box<Exec>),
    /// A connection to a TCP port of the guest's own loopback: its bytes follow
    /// `done`.
    Forward { port: NonZeroU16 },
    /// What is running here: one `status`.
    Status,
    /// The run's state and everything that happens, until the run has ended.
    Events,
    /// End the VM: at once, or by asking the guest and waiting.
    Stop { force: bool, timeout_ms: u64 },
    /// Save the guest's memory and end the VM; if only `brief`ly, the next
    /// command resumes it.
    Suspend {
        #[serde(default)]
        brief: bool,
    },
    /// End the supervisor and leave the VM to the next one.
    HandOver,
}

/// A program and what it runs in. Texts are UTF-8, arguments exact. A field that
/// is not known is refused: it might be what keeps the program in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exec {
    /// Program and arguments; empty: the user's login shell.
    pub argv: Vec<String>,
    /// Added to the environment of a clean login.
    pub env: BTreeMap<String, String>,
    /// Where it starts; null: the user's home.
    pub cwd: Option<String>,
    /// `NAME|UID[:GROUP]` of the guest; null: the machine's user.
    pub user: Option<String>,
    /// New namespaces and limits, as options of `nsvm unshare`:
    /// `["--user", "--pid", "--fork"]`. Empty: none.
    pub unshare: Vec<String>,
    /// Run in this named namespace (`nsvm ns`) instead.
    pub ns: Option<String>,
    /// Lines of stdin follow; else it is at its end from the start.
    pub stdin: bool,
}

/// What may follow an `exec`, each on a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "input", rename_all = "snake_case", deny_unknown_fields)]
pub enum Input {
    /// Bytes for the program's stdin.
    Stdin { base64: String },
    /// That was all of it.
    End,
    /// A signal: `TERM`, `SIGTERM`, `15`.
    Signal { signal: String },
}

/// What the supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Progress; more replies follow.
    Event {
        inner: Event,
    },
    /// The answer to `status`.
    Status(RunStatus),
    /// What the program of an `exec` printed.
    Stdout {
        base64: String,
    },
    Stderr {
        base64: String,
    },
    /// How it ended: the exit code that `nsvm` would have; null or the signal
    /// (Linux number); null or why it did not run or was ended.
    Exit {
        code: u8,
        signal: Option<u8>,
        message: Option<String>,
    },
    /// It is done; for `session` and `forward`, bytes follow.
    Done,
    /// It is not done, because.
    Failed {
        message: String,
        hint: Option<String>,
    },
    /// There is no link to the guest; a later request may find one.
    Down {
        message: String,
        hint: Option<String>,
    },
}

/// One run, as its supervisor sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunStatus {
    /// [`PROTOCOL`] of the supervisor.
    pub protocol: u32,
    /// The version of nsvm that the supervisor is.
    pub nsvm: String,
    pub machine: String,
    pub state: RunState,
    pub supervisor_pid: u32,
}

impl Reply {
    pub fn failed(message: impl Into<String>, hint: Option<String>) -> Self {
        Self::Failed { message: message.into(), hint }
    }

    pub fn event(event: Event) -> Self {
        Self::Event { inner: event }
    }
}

/// A message as a line.
pub fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("plain fields serialize");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_single_lines_that_read_back() {
        let event = Event::Note { text: "two\nlines".into() };
        let reply = Reply::event(event);
        let text = line(&reply);
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(serde_json::from_slice::<Reply>(&text).unwrap(), reply);
        let stop = Request::Stop { force: false, timeout_ms: 5 };
        let exec = r#"{"op":"exec","argv":["id"],"env":{"A":"b"},"unshare":["-U"]}"#;
        let Ok(Request::Exec(exec)) = serde_json::from_str(exec) else { panic!("{exec}") };
        assert_eq!((exec.argv, exec.stdin), (vec!["id".to_owned()], false));
        for wrong in [
            r#"{"op":"exec","argv":["id"],"namespaces":["user"]}"#,
            r#"{"op":"forward","port":0}"#,
            r#"{"op":"forward","port":65536}"#,
        ] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(line(&stop), b"{\"op\":\"stop\",\"force\":false,\"timeout_ms\":5}\n");
    }
}
