//! `nsvm ns exec`

use super::super::exec::ExecArgs;
use super::super::verdict::Wording;
use super::super::{Host, UsageError};
use crate::cli::environment::Target;
use crate::cli::run;
use crate::namespace::named::Name;
use crate::protocol::request::ExecRequest;

/// Run a program in a named namespace
///
/// From any number of terminals at once. With a user namespace it is root
/// where root is mapped, else its maker. Without a PROGRAM, the user's login
/// shell is started.
#[derive(Debug, Clone, clap::Args)]
#[command(
    override_usage = "nsvm ns exec [OPTIONS] NAME [--] [PROGRAM [ARG]...]",
    after_help = "Example:\n  nsvm ns exec web -- ip address",
    args_override_self = true
)]
pub struct NsExecArgs {
    /// The name it was made under
    #[arg(value_name = "NAME")]
    name: Name,
    #[command(flatten)]
    exec: ExecArgs,
}

pub fn run(target: &Target, args: &NsExecArgs) -> u8 {
    run::run(target, Wording::Podman, args.resolve(&Host::real()))
}

impl NsExecArgs {
    /// What was typed, as a request.
    fn resolve(&self, host: &Host<'_>) -> Result<ExecRequest, UsageError> {
        Ok(ExecRequest { inside: Some(self.name.clone()), ..self.exec.resolve(host)? })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: NsExecArgs,
    }

    #[test]
    fn the_program_follows_the_name_with_or_without_dashes() {
        let host = Host { env: &|_| None, read: &|_| unreachable!(), terminal: &|_| Ok(None) };
        for line in
            [&["exec", "-w", "/", "web", "ls", "-l"][..], &["exec", "-w/", "web", "--", "ls", "-l"]]
        {
            let request = Cli::try_parse_from(line).unwrap().args.resolve(&host).unwrap();
            assert_eq!(request.inside.unwrap().as_str(), "web");
            assert_eq!(request.argv, [&b"ls"[..], b"-l"]);
            assert_eq!(request.cwd.unwrap(), b"/");
        }
    }
}
