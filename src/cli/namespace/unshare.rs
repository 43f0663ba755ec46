//! `nsvm unshare`: a program in new namespaces of the machine.

use std::ffi::OsString;

use super::environment::EnvironmentArgs;
use super::identity::IdentityArgs;
use super::{Host, UsageError, bytes};
use crate::app::terminal::TtyChoice;
use crate::options::{LimitOptions, UnshareOptions};
use crate::protocol::request::ExecRequest;

/// The options of unshare(1), ours, and the program.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    about = "Run a program in new namespaces of the machine",
    long_about = "Run a program in new namespaces of the machine\n\n\
        Options and their meaning are those of unshare(1). Arguments arrive\n\
        unchanged: no shell evaluates them. Without a PROGRAM, the user's shell\n\
        is started.",
    after_help = "Example:\n  nsvm unshare --user --pid --map-root-user --mount-proc --fork bash",
    version,
    override_usage = "nsvm unshare [OPTIONS] [PROGRAM [ARG]...]",
    infer_long_args = true,
    args_override_self = true
)]
pub struct UnshareArgs {
    #[command(flatten)]
    pub options: UnshareOptions,
    #[command(flatten)]
    pub limits: LimitOptions,
    /// Say step by step what would happen, and run nothing
    #[arg(long, help_heading = "Machine")]
    pub explain: bool,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub environment: EnvironmentArgs,
    /// The program and its arguments [default: the user's shell]
    #[arg(value_name = "PROGRAM", trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

impl UnshareArgs {
    /// What was typed, as a request.
    pub fn resolve(&self, host: &Host<'_>) -> Result<ExecRequest, UsageError> {
        Ok(ExecRequest {
            argv: self.command.iter().map(|arg| bytes(arg)).collect(),
            env: self.environment.resolve(host)?,
            user: self.identity.resolve()?,
            tty: (host.terminal)(TtyChoice::Auto)?,
            namespaces: self.options.spec()?,
            limits: self.limits.resolve()?,
            ..ExecRequest::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: UnshareArgs,
    }

    fn parse(args: &str) -> UnshareArgs {
        Cli::try_parse_from(std::iter::once("unshare").chain(args.split(' '))).unwrap().args
    }

    #[test]
    fn options_end_at_the_program() {
        let args = parse("-r -- -x");
        assert_eq!(args.command, ["-x"]);
        let args = parse("-r bash --fork -c x -- y");
        assert_eq!(args.command, ["bash", "--fork", "-c", "x", "--", "y"]);
        assert!(!args.options.spec().unwrap().fork);
    }
}
