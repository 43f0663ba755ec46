//! A clear "no, because" with the way out.

use crate::control::message::Reply;

/// Something the user asked for that cannot be, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub message: String,
    pub hint: Option<String>,
}

impl Refusal {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What a supervisor refuses with its last reply.
    pub fn in_reply(reply: Reply) -> Result<(), Self> {
        match reply {
            Reply::Failed { message, hint } | Reply::Down { message, hint } => {
                Err(Self { message, hint })
            }
            _ => Ok(()),
        }
    }
}
