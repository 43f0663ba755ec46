//! Completions that shells ask this program for, and manual pages: both made
//! from the definition of the command line, so that they cannot be out of date.

use std::any::TypeId;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Arg, Command};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, EnvCompleter, Fish, Powershell, Zsh};

use super::environment;
use super::out::Stdout;
use crate::image::{Base, Cache, Catalog, Entry};
use crate::machine::name::MachineName;

/// The variable by which a shell asks.
const ASKS: &str = "NSVM_COMPLETE";

/// A shell that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
    #[value(alias = "pwsh")]
    Powershell,
}

/// Print the completions of a shell
///
/// They complete verbs, options, machines and images, and ask nsvm itself, so
/// they need not be made anew after an upgrade. `make install` installs them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  source <(nsvm completion bash)\n  \
        nsvm completion fish >~/.config/fish/completions/nsvm.fish\n  \
        nsvm completion powershell | Out-String | Invoke-Expression")]
pub struct CompletionArgs {
    shell: Shell,
}

pub fn run(args: &CompletionArgs) -> anyhow::Result<u8> {
    let completer: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
        Shell::Powershell => &Powershell,
    };
    let mut script = Vec::new();
    completer.write_registration(ASKS, "nsvm", "nsvm", "nsvm", &mut script)?;
    if args.shell == Shell::Bash {
        script = with_whole_words(&String::from_utf8(script)?)?.into_bytes();
    }
    Stdout.write_all(&script)?;
    Ok(0)
}

/// The script for bash, which asks by our function.
fn with_whole_words(script: &str) -> anyhow::Result<String> {
    let (asks, registers) =
        script.split_once("\nif [[").context("the script for bash has no such part")?;
    let registers = registers.replace("-F _clap_complete_nsvm nsvm", "-F _nsvm nsvm");
    Ok(format!("{asks}\n{}if [[{registers}", include_str!("completion.bash")))
}

/// Write the manual pages into a directory (for packages)
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm man /usr/local/share/man/man1")]
pub struct ManArgs {
    #[arg(value_name = "DIRECTORY")]
    dir: PathBuf,
}

pub fn man(args: &ManArgs) -> anyhow::Result<u8> {
    let dir = &args.dir;
    std::fs::create_dir_all(dir).with_context(|| format!("creating \"{}\"", dir.display()))?;
    // A page names the page above it and those below, not their whole text.
    let command = super::command().version(env!("CARGO_PKG_VERSION")).disable_help_subcommand(true);
    clap_mangen::generate_to(command, dir)
        .with_context(|| format!("writing manual pages into \"{}\"", dir.display()))?;
    Ok(0)
}

/// Answers a shell that asks; false: none does.
pub fn answered(args: &[OsString]) -> bool {
    let here = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(command).var(ASKS);
    matches!(asked.try_complete(args.iter().cloned(), here.as_deref()), Ok(true))
}

/// The command line with what is known about names.
fn command() -> Command {
    with_names(super::command())
}

fn with_names(command: Command) -> Command {
    let makes = ["init", "import"].contains(&command.get_name());
    let ssh = command.get_name() == "ssh";
    // What `os apply` takes is no image of ours.
    let cached = !["import", "apply"].contains(&command.get_name());
    command
        .mut_args(|arg| {
            let words = arg.get_value_names().and_then(|names| names.first());
            let image =
                words.is_some_and(|word| word.starts_with("IMAGE") || *word == "NAME|DIGEST");
            if arg.get_id() == "image" && arg.get_long().is_some() {
                arg.add(ArgValueCandidates::new(known_images))
            } else if (is_machine(&arg) && !makes) || (ssh && arg.get_id() == "words") {
                arg.add(ArgValueCandidates::new(machines))
            } else if image && arg.get_long().is_none() && cached {
                arg.add(ArgValueCandidates::new(all_images))
            } else {
                arg
            }
        })
        .mut_subcommands(with_names)
}

fn is_machine(arg: &Arg) -> bool {
    let is_new = arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "NEW"));
    arg.get_value_parser().type_id() == TypeId::of::<MachineName>() && !is_new
}

/// A shell wants no errors: what cannot be found out is not offered.
fn machines() -> Vec<CompletionCandidate> {
    let names = environment::store().and_then(|store| Ok(store.names()?));
    names.unwrap_or_default().into_iter().map(|name| candidate(name.as_str())).collect()
}

/// What `--image` takes by name.
fn known_images() -> Vec<CompletionCandidate> {
    let names = |entry: &Entry| {
        let with = entry.streams().into_iter().map(|stream| format!("{}:{stream}", entry.name));
        [entry.name.clone()].into_iter().chain(with).collect::<Vec<_>>()
    };
    Catalog::embedded().images.iter().flat_map(names).map(candidate).collect()
}

/// Those, and what is in the cache under a name.
fn all_images() -> Vec<CompletionCandidate> {
    let cache = environment::store().and_then(|store| Ok(Cache::open(&store.dirs().cache)?));
    let bases = cache.and_then(|cache| Ok(cache.bases()?)).unwrap_or_default();
    let mut names: Vec<String> = bases.iter().flat_map(Base::names).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names.into_iter().map(candidate).chain(known_images()).collect()
}

fn candidate(text: impl Into<OsString>) -> CompletionCandidate {
    CompletionCandidate::new(text)
}
