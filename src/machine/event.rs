//! Progress as events: the screen, the log and the tests are receivers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something a person who waits would like to know. Events cross the control
/// endpoint as JSON, so variants are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Work with a length: `done` of `total` bytes. Sent again as it advances;
    /// `done == total` is the last one. `what` stays the same meanwhile.
    Bytes { what: String, done: u64, total: Option<u64> },
    /// One step began, e.g. a line of a build or "Starting machine".
    Step { text: String },
    /// A readiness check changed its state; `index` counts from 1.
    Check { index: usize, of: usize, name: String, state: CheckState },
    /// Worth knowing, not a problem.
    Note { text: String },
    /// A problem that did not stop the work.
    Warning { text: String },
    /// The run has got there.
    State { state: RunState },
}

/// Where a run has got to, for those who follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Starting,
    Running,
    Stopping,
    Stopped,
}

impl RunState {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// The state of one readiness check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    Waiting,
    Passed,
    Failed,
}

impl CheckState {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Passed => "ok",
            Self::Failed => "failed",
        }
    }
}

/// Receives events; shared between threads, so it takes `&self`.
pub trait Progress: Send + Sync {
    fn event(&self, event: &Event);
}

impl dyn Progress + '_ {
    pub fn step(&self, text: impl Into<String>) {
        self.event(&Event::Step { text: text.into() });
    }

    pub fn note(&self, text: impl Into<String>) {
        self.event(&Event::Note { text: text.into() });
    }

    pub fn warn(&self, text: impl Into<String>) {
        self.event(&Event::Warning { text: text.into() });
    }
}

/// Drops every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event) {}
}
