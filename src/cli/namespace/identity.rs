//! `--user-name` and `--rootful`: who runs the program in the guest.

use crate::protocol::request::{UserSpec, UserSpecError};

/// Shared by the verbs that run something.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct IdentityArgs {
    /// Run as this user of the machine [default: the machine's user]
    #[arg(long, value_name = "NAME|UID[:GROUP]", help_heading = "Machine")]
    pub user_name: Option<String>,
    /// Run as the machine's root: the same as --user-name root
    #[arg(long, conflicts_with = "user_name", help_heading = "Machine")]
    pub rootful: bool,
}

impl IdentityArgs {
    /// The user that was asked for.
    pub fn resolve(&self) -> Result<Option<UserSpec>, UserSpecError> {
        let name = self.user_name.as_deref().or(self.rootful.then_some("root"));
        name.map(str::parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: IdentityArgs,
    }

    #[test]
    fn rootful_is_short_for_a_user() {
        let user = |line: &[&str]| {
            let all = std::iter::once("x").chain(line.iter().copied());
            Cli::try_parse_from(all).map(|cli| cli.args.resolve().unwrap().map(|user| user.user))
        };
        assert_eq!(user(&[]).unwrap(), None);
        assert_eq!(user(&["--rootful"]).unwrap().as_deref(), Some("root"));
        assert_eq!(user(&["--user-name", "core"]).unwrap().as_deref(), Some("core"));
        assert!(user(&["--user-name", "core", "--rootful"]).is_err());
    }
}
