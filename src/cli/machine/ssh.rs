//! `nsvm machine ssh`

use std::ffi::OsString;

use crate::app::terminal::TtyChoice;
use crate::cli::environment::{self, Stopped, Target};
use crate::cli::namespace::{Host, UsageError, bytes};
use crate::cli::run;
use crate::machine::name::MachineName;
use crate::protocol::request::{Bytes, ExecRequest, UserSpec};

/// Run a command in a machine, or log in
///
/// The first argument is a machine only if there is one of that name. Without
/// `--`, arguments are joined by spaces and evaluated by the user's shell, as
/// podman does; after `--` they arrive exactly as typed. It starts in the user's
/// home. Neither your SSH configuration nor your own keys are used.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine ssh work 'ls /etc | wc -l'")]
pub struct SshArgs {
    /// Log in as this user [default: the machine's user]
    #[arg(long)]
    username: Option<String>,
    /// [NAME] [--] [COMMAND [ARG]...]
    #[arg(value_name = "NAME|COMMAND", trailing_var_arg = true)]
    words: Vec<OsString>,
}

pub fn run(args: &SshArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let typed = std::env::args_os().collect::<Vec<_>>();
    let exists = |word: &OsString| {
        word.to_str().and_then(|word| word.parse().ok()).filter(|name| context.store.exists(name))
    };
    let plan = plan(&args.words, has_separator(&typed), exists, context.store.default_name());
    let target = Target::Machine(plan.machine.clone(), Stopped::AsConfigured);
    Ok(run::run_at_home(&target, args.request(&plan)))
}

/// What the words mean.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    machine: MachineName,
    command: Vec<OsString>,
    /// Arguments are to arrive exactly as typed.
    exact: bool,
}

/// clap swallows a `--` that comes before the first word; whether it was
/// typed directly after `ssh` and its options shows in the raw arguments.
fn has_separator(typed: &[OsString]) -> bool {
    let mut words = typed.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    let mut verbs = 0;
    while let Some(word) = words.next() {
        match word {
            "--" => return verbs == 2,
            "--username" | "--color" | "--log-level" | "--machine" => drop(words.next()),
            option if option.starts_with('-') => {}
            // `machine` and `ssh`; then the command.
            _ if verbs == 2 => return false,
            _ => verbs += 1,
        }
    }
    false
}

fn plan(
    words: &[OsString],
    separated: bool,
    machine: impl Fn(&OsString) -> Option<MachineName>,
    default: MachineName,
) -> Plan {
    let mut rest = words;
    let mut name = default;
    if !separated
        && let Some((first, others)) = words.split_first()
        && let Some(found) = machine(first)
    {
        name = found;
        rest = others;
    }
    let dashes = rest.first().is_some_and(|word| word == "--");
    let command = if dashes { &rest[1..] } else { rest };
    Plan { machine: name, command: command.to_vec(), exact: separated || dashes }
}

impl SshArgs {
    fn request(&self, plan: &Plan) -> Result<ExecRequest, UsageError> {
        let host = Host::real();
        // Like ssh: a terminal only for an interactive shell.
        let choice = if plan.command.is_empty() { TtyChoice::Auto } else { TtyChoice::Never };
        Ok(ExecRequest {
            argv: argv(plan),
            user: self.username.clone().map(|user| UserSpec { user, group: None }),
            tty: (host.terminal)(choice)?,
            ..ExecRequest::default()
        })
    }
}

/// Nothing for a login shell; the words themselves when exact; else one
/// string for the user's own shell.
fn argv(plan: &Plan) -> Vec<Bytes> {
    if plan.exact || plan.command.is_empty() {
        return plan.command.iter().map(|word| bytes(word)).collect();
    }
    let joined = plan.command.join(&OsString::from(" "));
    let shell = ["/bin/sh", "-c", "exec \"${SHELL:-/bin/sh}\" -c \"$0\""];
    shell.iter().map(|word| bytes(word.as_ref())).chain([bytes(&joined)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Vec<OsString> {
        text.iter().map(Into::into).collect()
    }

    fn planned(text: &[&str], separated: bool) -> Plan {
        let known = |word: &OsString| (word == "t1").then(|| "t1".parse().unwrap());
        plan(&words(text), separated, known, MachineName::default())
    }

    #[test]
    fn the_first_word_is_a_machine_only_if_there_is_one() {
        let machine = planned(&["t1", "ls", "-l"], false);
        assert_eq!((machine.machine.as_str(), machine.exact), ("t1", false));
        assert_eq!(machine.command, words(&["ls", "-l"]));
        let command = planned(&["ls", "t1"], false);
        assert_eq!(command.machine, MachineName::default());
        assert_eq!(command.command, words(&["ls", "t1"]));
    }

    #[test]
    fn two_dashes_make_arguments_exact() {
        assert!(planned(&["t1", "--", "printf", "a b"], false).exact);
        let all = planned(&["t1"], true);
        assert_eq!((all.command, all.exact), (words(&["t1"]), true));
        assert!(has_separator(&words(&["nsvm", "machine", "ssh", "--username", "x", "--", "ls"])));
        assert!(!has_separator(&words(&["nsvm", "machine", "ssh", "t1", "--", "ls"])));
        let shared =
            ["nsvm", "--color=never", "machine", "ssh", "--log-level", "debug", "--", "ls"];
        assert!(has_separator(&words(&shared)));
    }

    #[test]
    fn joined_words_are_one_string_for_the_shell() {
        let argv = argv(&planned(&["t1", "ls", "/etc", "|", "wc"], false));
        assert_eq!(argv.last().unwrap(), "ls /etc | wc");
        assert_eq!(argv.len(), 4);
    }
}
