//! `--user-name`: who runs the program in the guest.

use crate::protocol::request::{UserSpec, UserSpecError};

/// Shared by the verbs that run something.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct IdentityArgs {
    /// Run as this user of the machine [default: the machine's user]
    #[arg(long, value_name = "NAME|UID[:GROUP]", help_heading = "Machine")]
    pub user_name: Option<String>,
}

impl IdentityArgs {
    /// The user that was asked for.
    pub fn resolve(&self) -> Result<Option<UserSpec>, UserSpecError> {
        self.user_name.as_deref().map(str::parse).transpose()
    }
}
