//! `nsvm lsns`: the machine's namespaces in the form of lsns(8).

use std::io::IsTerminal;

use super::UsageError;
use super::identity::IdentityArgs;
use super::verdict::{OURS, Wording, verdict};
use crate::app;
use crate::app::terminal;
use crate::cli::environment::{self, Target};
use crate::cli::report;
use crate::namespace::listing::{Choice, Column, Format, render, rows};
use crate::options::{LsnsOptions, verb};
use crate::protocol::request::ListRequest;

/// List the namespaces of the machine
///
/// Those that the user may see: all of them only as root (--user-name root).
/// Columns: NS TYPE PATH NPROCS PID PPID COMMAND UID USER NETNSID NSFS PNS ONS
#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    version,
    override_usage = "nsvm lsns [OPTIONS] [NAMESPACE]",
    after_help = "Example:\n  nsvm lsns --user-name root -t net",
    args_override_self = true
)]
pub struct LsnsArgs {
    #[command(flatten)]
    options: LsnsOptions,
    #[command(flatten)]
    identity: IdentityArgs,
}

impl LsnsArgs {
    fn resolve(&self) -> Result<(ListRequest, Format, Choice), UsageError> {
        let choice = self.options.choice()?;
        let width = std::io::stdout().is_terminal().then(|| usize::from(terminal::size().cols));
        let format = self.options.format(&choice, width)?;
        let request = ListRequest { user: self.identity.resolve()?, command: typed() };
        Ok((request, format, choice))
    }
}

/// What was typed, from the verb on.
fn typed() -> String {
    let words: Vec<_> = std::env::args_os().collect();
    let verb = verb(&words).unwrap_or_default();
    let words: Vec<_> = words[verb..].iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Prints the machine's namespaces.
pub fn run(target: &Target, args: &LsnsArgs) -> u8 {
    if args.options.list_columns {
        out!("{}", Column::list());
        return 0;
    }
    let (request, format, choice) = match args.resolve() {
        Ok(resolved) => resolved,
        Err(e) => return refuse(&e.to_string()),
    };
    let listed = environment::place(target).and_then(|place| app::run::list(&place, request));
    let snapshot = match listed {
        Ok(Ok(snapshot)) => snapshot,
        Ok(Err(outcome)) => {
            let verdict = verdict(Wording::Lsns, &outcome);
            verdict.message.iter().for_each(|message| report::note(message));
            return verdict.code;
        }
        Err(e) => {
            report::error(&e);
            return OURS;
        }
    };
    match rows(&snapshot, &choice) {
        Ok(rows) => {
            out!("{}", render(&snapshot, &rows, &format));
            0
        }
        Err(e) => refuse(&e.to_string()),
    }
}

fn refuse(message: &str) -> u8 {
    report::note(&Wording::Lsns.line(message));
    Wording::Lsns.usage_code()
}
