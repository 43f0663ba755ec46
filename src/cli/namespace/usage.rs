//! What the user typed wrong.

use crate::app::terminal::NoTerminal;
use crate::options::OptionError;
use crate::protocol::request::UserSpecError;

/// Options that cannot become a request.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("argument '{0}' holds a NUL byte")]
    Nul(String),
    #[error("invalid variable '{0}': it must be NAME=VALUE, or NAME to take the host's value")]
    Variable(String),
    #[error("cannot read the environment file \"{path}\": {source}")]
    EnvFile { path: String, source: std::io::Error },
    #[error("invalid name '{0}': it must be letters, digits, '-', '_' and '.'")]
    RunName(String),
    #[error("invalid directory 'guest:{0}': it must begin with guest:/")]
    RootFs(String),
    #[error(transparent)]
    User(#[from] UserSpecError),
    #[error(transparent)]
    Terminal(#[from] NoTerminal),
}
