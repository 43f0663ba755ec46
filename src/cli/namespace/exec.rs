//! `nsvm exec`: a program in the guest, without new namespaces.

use std::ffi::OsString;

use super::environment::EnvironmentArgs;
use super::identity::IdentityArgs;
use super::tty::TtyArgs;
use super::{Host, UsageError, bytes};
use crate::protocol::request::ExecRequest;

/// Run a program in the machine, without new namespaces
///
/// Arguments arrive unchanged: no shell evaluates them. Without a PROGRAM,
/// the user's login shell is started.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    override_usage = "nsvm exec [OPTIONS] [PROGRAM [ARG]...]",
    after_help = "Example:\n  nsvm exec -w /etc -- grep -r 'a b' .",
    args_override_self = true
)]
pub struct ExecArgs {
    #[command(flatten)]
    tty: TtyArgs,
    /// Start in this directory of the machine [default: the user's home]
    #[arg(short = 'w', long, value_name = "DIR")]
    pub workdir: Option<OsString>,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub environment: EnvironmentArgs,
    /// The program and its arguments
    #[arg(value_name = "PROGRAM", trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

impl ExecArgs {
    /// What was typed, as a request.
    pub fn resolve(&self, host: &Host<'_>) -> Result<ExecRequest, UsageError> {
        Ok(ExecRequest {
            argv: self.command.iter().map(|arg| bytes(arg)).collect(),
            env: self.environment.resolve(host)?,
            cwd: self.workdir.as_deref().map(bytes),
            user: self.identity.resolve()?,
            tty: (host.terminal)(self.tty.choice())?,
            ..ExecRequest::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::app::terminal::TtyChoice;
    use crate::protocol::request::{Size, Terminal};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: ExecArgs,
    }

    fn resolve(args: &[&str]) -> ExecRequest {
        let terminal = |choice| {
            let terminal = Terminal { term: bytes("xterm".as_ref()), size: Size::default() };
            Ok((choice == TtyChoice::Force).then_some(terminal))
        };
        let host = Host { env: &|_| None, read: &|_| Ok(vec![]), terminal: &terminal };
        let cli = Cli::try_parse_from([&["exec"], args].concat()).unwrap();
        cli.args.resolve(&host).unwrap()
    }

    #[test]
    fn options_end_at_the_program() {
        let request = resolve(&["-w", "/x y", "ls", "-t", "--", "-w", ""]);
        assert_eq!(request.argv, ["ls", "-t", "--", "-w", ""]);
        assert_eq!(request.cwd.unwrap(), "/x y");
        assert_eq!(request.tty, None);
    }

    #[test]
    fn a_double_dash_before_the_program_is_not_its_argument() {
        assert_eq!(resolve(&["--", "-x", "--"]).argv, ["-x", "--"]);
        assert_eq!(resolve(&[]).argv.len(), 0);
    }

    #[test]
    fn the_last_of_t_and_capital_t_counts() {
        assert!(resolve(&["-T", "-t", "sh"]).tty.is_some());
        assert!(resolve(&["-t", "-T", "sh"]).tty.is_none());
    }

    #[test]
    fn user_and_variables_travel_along() {
        let request = resolve(&["--user-name", "0:adm", "--set-env", "A=b", "id"]);
        assert_eq!(request.user.unwrap().group.as_deref(), Some("adm"));
        assert_eq!(request.env, [(bytes("A".as_ref()), bytes("b".as_ref()))]);
    }
}
