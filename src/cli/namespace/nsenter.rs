//! `nsvm nsenter`: a program in namespaces of the machine's processes.

use std::ffi::OsString;

use super::environment::EnvironmentArgs;
use super::identity::IdentityArgs;
use super::{Host, UsageError, bytes};
use crate::app::terminal::TtyChoice;
use crate::options::NsenterOptions;
use crate::protocol::request::ExecRequest;

/// The options of nsenter(1), ours, and the program.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    about = "Run a program in namespaces of the machine's processes",
    long_about = "Run a program in namespaces of the machine's processes\n\n\
        Options and their meaning are those of nsenter(1); processes and files\n\
        are the machine's. Arguments arrive unchanged: no shell evaluates them.\n\
        Without a PROGRAM, the user's shell is started.",
    after_help = "Example:\n  nsvm nsenter --user-name root --target 1 --all ps -ef",
    version,
    override_usage = "nsvm nsenter [OPTIONS] [PROGRAM [ARG]...]",
    infer_long_args = true,
    args_override_self = true
)]
pub struct NsenterArgs {
    #[command(flatten)]
    pub options: NsenterOptions,
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

impl NsenterArgs {
    /// What was typed, as a request.
    pub fn resolve(&self, host: &Host<'_>) -> Result<ExecRequest, UsageError> {
        Ok(ExecRequest {
            argv: self.command.iter().map(|arg| bytes(arg)).collect(),
            env: self.environment.resolve(host)?,
            user: self.identity.resolve()?,
            tty: (host.terminal)(TtyChoice::Auto)?,
            enter: Some(Box::new(self.options.spec()?)),
            ..ExecRequest::default()
        })
    }
}
