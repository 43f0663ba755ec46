//! Requests and replies of the control endpoint.

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
    /// What is running here: one `status`.
    Status,
    /// The run's state and everything that happens, until the run has ended.
    Events,
    /// End the VM: at once, or by asking the guest and waiting.
    Stop { force: bool, timeout_ms: u64 },
    /// Save the guest's memory and end the VM.
    Suspend,
    /// End the supervisor and leave the VM to the next one.
    HandOver,
}

/// What the supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Progress; more replies follow.
    Event { inner: Event },
    /// The answer to `status`.
    Status(RunStatus),
    /// It is done; for `session`, the agent's bytes follow.
    Done,
    /// It is not done, because.
    Failed { message: String, hint: Option<String> },
    /// There is no link to the guest; a later request may find one.
    Down { message: String, hint: Option<String> },
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
        assert_eq!(line(&stop), b"{\"op\":\"stop\",\"force\":false,\"timeout_ms\":5}\n");
    }
}
