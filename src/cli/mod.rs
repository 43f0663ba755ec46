//! The command line: what can be typed, what is printed, exit codes, the
//! environment. Verbs are one file each.

#[macro_use]
mod out;

mod ask;
mod completion;
mod config;
pub mod environment;
pub mod image;
pub mod interrupt;
pub mod machine;
mod make_template;
pub mod namespace;
pub mod printer;
pub mod report;
pub mod run;
mod shared;
pub mod supervise;
pub mod table;
pub mod template;
mod yaml;

use std::any::TypeId;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::app::Refusal;
use crate::machine::name::MachineName;
use environment::{Stopped, Target};
use namespace::verdict::{OURS, Wording};
use namespace::{ExecArgs, LsnsArgs, NamespacesArgs, NsenterArgs, RunArgs, UnshareArgs};
use shared::{Group, SharedOptions};

/// Linux namespaces for hosts that have none
///
/// nsvm keeps small Linux machines and runs namespace commands in them as if
/// they were local.
#[derive(Debug, Parser)]
#[command(
    name = "nsvm",
    bin_name = "nsvm",
    version,
    max_term_width = 80,
    disable_help_subcommand = true,
    after_help = "Example:\n  \
        nsvm machine init --now\n  \
        nsvm unshare --user --pid --map-root-user --mount-proc --fork bash"
)]
struct Cli {
    /// The machine that namespace commands run in [env: NSVM_MACHINE]
    /// [default: nsvm-machine-default]
    #[arg(long, value_name = "NAME")]
    machine: Option<MachineName>,
    /// Run the namespace command on this host's own kernel, without a machine
    /// (Linux)
    #[arg(long, conflicts_with = "machine")]
    local: bool,
    /// Start the machine first if it is stopped [config: run.auto_start]
    #[arg(long, conflicts_with = "local")]
    start: bool,
    #[command(flatten)]
    shared: SharedOptions,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // one exists, once
enum Verb {
    /// Manage the virtual machines
    Machine(Group<machine::Verb>),
    /// Manage the cache of base images
    Image(Group<image::Verb>),
    Unshare(UnshareArgs),
    Nsenter(NsenterArgs),
    Lsns(LsnsArgs),
    Namespaces(NamespacesArgs),
    Exec(ExecArgs),
    /// Named namespaces, which stay when the programs in them have ended
    ///
    /// They belong to the user that makes them; root may use everyone's. They
    /// stay until they are removed, or the machine stops.
    #[command(subcommand)]
    Ns(namespace::ns::Verb),
    Run(RunArgs),
    /// Root file systems that the machine keeps for `nsvm run`
    ///
    /// Those that `nsvm run --rootfs` has sent to it, and what programs have
    /// changed under a --name.
    #[command(name = "rootfs", subcommand)]
    RootFs(namespace::rootfs::Verb),
    /// Show what config files and the environment say
    Config(Group<config::Verb>),
    Completion(completion::CompletionArgs),
    #[command(hide = true)]
    Man(completion::ManArgs),
    #[command(hide = true)]
    Supervise(supervise::SuperviseArgs),
    #[command(hide = true)]
    MakeTemplate(make_template::MakeTemplateArgs),
}

/// Parses, runs, and turns the result into an exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if completion::answered(&args) {
        return ExitCode::SUCCESS;
    }
    let args = crate::options::getopt_form(help_asked(args));
    shared::choose_colors(&args);
    let parsed = command().try_get_matches_from(&args).and_then(|m| Cli::from_arg_matches(&m));
    match parsed {
        Ok(cli) => ExitCode::from(dispatch(cli)),
        Err(e) => ExitCode::from(not_understood(&e, &args)),
    }
}

/// Verbs that have verbs and run no program.
const GROUPS: [&str; 3] = ["machine", "image", "config"];

/// What can be typed. Verbs that run no program take the shared options behind
/// them, too, and are told of them last.
fn command() -> clap::Command {
    GROUPS.into_iter().fold(Cli::command(), |command, verb| {
        command.mut_subcommand(verb, |verb| {
            as_podman(verb)
                .mut_arg("color", |arg| arg.global(true).display_order(900))
                .mut_arg("log_level", |arg| arg.global(true).display_order(901))
        })
    })
}

/// As with podman, of an option that is typed twice the last one counts, and a
/// number below zero is a wrong value and no option.
fn as_podman(command: clap::Command) -> clap::Command {
    use clap::ArgAction::{Set, SetTrue};
    let is_number = |arg: &clap::Arg| {
        let parsed = arg.get_value_parser().type_id();
        parsed == TypeId::of::<u32>() || parsed == TypeId::of::<u64>()
    };
    let one = |arg: clap::Arg| {
        if arg.is_positional() || !matches!(arg.get_action(), Set | SetTrue) {
            return arg;
        }
        let (id, number) = (arg.get_id().clone(), is_number(&arg));
        arg.overrides_with(id).allow_negative_numbers(number)
    };
    command.mut_args(one).mut_subcommands(as_podman)
}

/// `help VERB` is what other programs have for `VERB --help`.
fn help_asked(args: Vec<OsString>) -> Vec<OsString> {
    let word = |at: usize| args.get(at).and_then(|word| word.to_str());
    let has_verbs =
        word(1).is_some_and(|verb| [&GROUPS[..], &["ns", "rootfs"]].concat().contains(&verb));
    let at = match (word(1), word(2)) {
        (Some("help"), _) => 1,
        (_, Some("help")) if has_verbs => 2,
        _ => return args,
    };
    let (before, after) = (&args[..at], &args[at + 1..]);
    [before, after, &["--help".into()]].concat()
}

fn dispatch(cli: Cli) -> u8 {
    let behind = match &cli.verb {
        Verb::Machine(group) => group.shared,
        Verb::Image(group) => group.shared,
        Verb::Config(group) => group.shared,
        _ => SharedOptions::default(),
    };
    let shared = behind.over(cli.shared);
    shared.log();
    environment::log_from(shared.log_level);
    let target = || target(cli.local, cli.machine, cli.start);
    let result = match cli.verb {
        Verb::Machine(group) => {
            not_local(cli.local, "machine").and_then(|()| machine::run(group.verb))
        }
        Verb::Image(group) => not_local(cli.local, "image").and_then(|()| image::run(group.verb)),
        Verb::Unshare(args) => target().map(|target| run::unshare(&target, &args)),
        Verb::Nsenter(args) => target().map(|target| run::nsenter(&target, &args)),
        Verb::Lsns(args) => target().map(|target| namespace::lsns::run(&target, &args)),
        Verb::Namespaces(args) => target().and_then(|target| namespace::kinds::run(&target, &args)),
        Verb::Ns(verb) => target().and_then(|target| namespace::ns::run(&target, &verb)),
        Verb::Exec(args) => target().map(|target| run::exec(&target, &args)),
        Verb::Run(args) => target().map(|target| run::on_root(&target, &args)),
        Verb::RootFs(verb) => target().and_then(|target| namespace::rootfs::run(&target, &verb)),
        Verb::Config(group) => {
            not_local(cli.local, "config").and_then(|()| config::run(&group.verb))
        }
        Verb::Completion(args) => completion::run(&args),
        Verb::Man(args) => completion::man(&args),
        Verb::Supervise(args) => supervise::run(&args),
        Verb::MakeTemplate(args) => make_template::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(e) => {
            report::error(&e);
            OURS
        }
    }
}

fn target(local: bool, machine: Option<MachineName>, start: bool) -> anyhow::Result<Target> {
    if local {
        return Ok(Target::Local);
    }
    let stopped = if start { Stopped::Start } else { Stopped::AsConfigured };
    environment::machine(machine).map(|name| Target::Machine(name, stopped))
}

fn not_local(local: bool, verb: &str) -> anyhow::Result<()> {
    if !local {
        return Ok(());
    }
    let text = format!("`{verb}` has no --local: that is for commands about namespaces");
    Err(Refusal::new(text).hint(format!("Take `nsvm {verb}` without --local")).into())
}

/// Help and version are no errors; the rest is worded as the verb's users
/// expect it.
fn not_understood(error: &clap::Error, args: &[OsString]) -> u8 {
    if !error.use_stderr() {
        let _ = error.print();
        return 0;
    }
    // Options before the verb are few: `--machine NAME` or `--machine=NAME`.
    let mut words = args.iter().skip(1).filter_map(|arg| arg.to_str());
    while let Some(word) = words.next() {
        match word {
            "--machine" | "--color" | "--log-level" => drop(words.next()),
            "unshare" | "nsenter" | "lsns" => {
                let text = crate::options::getopt_wording(error, &format!("nsvm {word}"));
                eprintln!("{word}: {text}");
                return Wording::Unshare.usage_code();
            }
            _ if word.starts_with('-') => {}
            _ => break,
        }
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        report::no_verb(error);
    } else {
        report::usage(error);
    }
    OURS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn help_may_be_asked_for_by_a_word() {
        let asked = |line: &str| {
            let args = help_asked(line.split(' ').map(OsString::from).collect());
            args.join(&OsString::from(" ")).into_string().unwrap()
        };
        assert_eq!(asked("nsvm help"), "nsvm --help");
        assert_eq!(asked("nsvm help machine os"), "nsvm machine os --help");
        assert_eq!(asked("nsvm machine help set"), "nsvm machine set --help");
        for not in ["nsvm exec help", "nsvm machine ssh help", "nsvm", "nsvm run help me"] {
            assert_eq!(asked(not), not);
        }
    }

    #[test]
    fn every_shown_verb_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            if command.is_hide_set() {
                return;
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let leaf = !command.has_subcommands();
            assert!(!leaf || help.contains("Example"), "{path} has no example");
            for sub in command.get_subcommands() {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&command(), "nsvm");
    }

    #[test]
    fn help_fits_eighty_columns() {
        fn check(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            let long = help.lines().find(|line| line.chars().count() > 80);
            assert_eq!(long, None, "in the help of {}", command.get_name());
            let names: Vec<_> =
                command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
            for name in names {
                check(command.find_subcommand_mut(&name).unwrap());
            }
        }
        let mut command = command().term_width(80);
        command.build();
        check(&mut command);
    }
}
