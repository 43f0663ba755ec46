//! `nsvm-agent unshare`, `nsenter` and `lsns`: the host's verbs for scripts in
//! the guest. The same options, plan and steps, with the caller's rights and
//! streams; the program takes this process's place.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use super::{launch, listing};
use crate::namespace::explain::render;
use crate::namespace::listing as list;
use crate::options::verdict::{OURS, Wording, verdict};
use crate::options::{self, LsnsOptions, NsenterOptions, OptionError, UnshareOptions, bytes};
use crate::protocol::outcome::{Failure, Outcome};
use crate::protocol::request::{ExecRequest, Surroundings};

#[derive(Debug, Parser)]
#[command(name = "nsvm-agent", bin_name = "nsvm-agent", disable_help_subcommand = true)]
#[allow(clippy::large_enum_variant)] // one exists, once
enum Verb {
    /// Run a program in new namespaces
    Unshare(Unshare),
    /// Run a program in namespaces of other processes
    Nsenter(Nsenter),
    /// List namespaces
    Lsns(Lsns),
}

#[derive(Debug, clap::Args)]
#[command(
    about = "Run a program in new namespaces, as unshare(1) does",
    override_usage = "nsvm-agent unshare [OPTIONS] [PROGRAM [ARG]...]",
    infer_long_args = true,
    args_override_self = true
)]
struct Unshare {
    #[command(flatten)]
    options: UnshareOptions,
    #[command(flatten)]
    end: End,
}

#[derive(Debug, clap::Args)]
#[command(
    about = "Run a program in namespaces of other processes, as nsenter(1) does",
    override_usage = "nsvm-agent nsenter [OPTIONS] [PROGRAM [ARG]...]",
    infer_long_args = true,
    args_override_self = true
)]
struct Nsenter {
    #[command(flatten)]
    options: NsenterOptions,
    #[command(flatten)]
    end: End,
}

#[derive(Debug, clap::Args)]
#[command(about = "List namespaces, as lsns(8) does", args_override_self = true)]
struct Lsns {
    #[command(flatten)]
    options: LsnsOptions,
}

/// What both have behind their own options.
#[derive(Debug, clap::Args)]
struct End {
    /// Say step by step what would happen, and run nothing
    #[arg(long)]
    explain: bool,
    /// The program and its arguments [default: the user's shell]
    #[arg(value_name = "PROGRAM", trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// Runs `args` if they begin with one of these verbs; then it returns only
/// when no program has taken this process's place.
pub fn run(args: &[OsString]) -> Option<ExitCode> {
    let (wording, name) = match args.first()?.to_str()? {
        "unshare" => (Wording::Unshare, "unshare"),
        "nsenter" => (Wording::Nsenter, "nsenter"),
        "lsns" => (Wording::Lsns, "lsns"),
        _ => return None,
    };
    let line = std::iter::once("nsvm-agent".into()).chain(args.iter().cloned()).collect();
    let code = match Verb::try_parse_from(options::getopt_form(line)) {
        Ok(verb) => verb.run(args),
        Err(e) if !e.use_stderr() => u8::from(e.print().is_err()),
        Err(e) => {
            let text = options::getopt_wording(&e, &format!("nsvm-agent {name}"));
            eprintln!("{name}: {text}");
            wording.usage_code()
        }
    };
    Some(ExitCode::from(code))
}

impl Verb {
    fn run(self, args: &[OsString]) -> u8 {
        match self {
            Self::Unshare(Unshare { options, end }) => {
                let spec = options.spec();
                let request = spec.map(|namespaces| ExecRequest { namespaces, ..end.request() });
                execute(Wording::Unshare, tell_as_unshare, request, end.explain)
            }
            Self::Nsenter(Nsenter { options, end }) => {
                let spec = options.spec();
                let request =
                    spec.map(|spec| ExecRequest { enter: Some(Box::new(spec)), ..end.request() });
                execute(Wording::Nsenter, tell_as_nsenter, request, end.explain)
            }
            Self::Lsns(Lsns { options }) => show(&options, args).unwrap_or_else(|message| {
                eprintln!("{}", Wording::Lsns.line(&message));
                Wording::Lsns.usage_code()
            }),
        }
    }
}

impl End {
    fn request(&self) -> ExecRequest {
        ExecRequest {
            argv: self.command.iter().map(|arg| bytes(arg)).collect(),
            surroundings: Surroundings::Own,
            ..ExecRequest::default()
        }
    }
}

fn execute(
    wording: Wording,
    tell: fn(&Failure),
    request: Result<ExecRequest, OptionError>,
    explains: bool,
) -> u8 {
    let request = match request {
        Ok(request) => request,
        Err(e) => {
            eprintln!("{}", wording.line(&e.to_string()));
            return wording.usage_code();
        }
    };
    if !explains {
        return failed(wording, launch::become_here(&request, tell));
    }
    match launch::explain(&request) {
        Ok(plan) => print(&render(&plan.steps, &plan.program)),
        Err(failure) => failed(wording, failure),
    }
}

fn failed(wording: Wording, failure: Failure) -> u8 {
    let verdict = verdict(wording, &Outcome::NotStarted(failure));
    verdict.message.iter().for_each(|message| eprintln!("{message}"));
    verdict.code
}

fn tell_as_unshare(failure: &Failure) {
    eprintln!("{}", Wording::Unshare.line(&failure.message));
}

fn tell_as_nsenter(failure: &Failure) {
    eprintln!("{}", Wording::Nsenter.line(&failure.message));
}

/// Prints the namespaces; an error is a whole sentence.
fn show(options: &LsnsOptions, args: &[OsString]) -> Result<u8, String> {
    if options.list_columns {
        return Ok(print(&list::Column::list()));
    }
    let choice = options.choice().map_err(|e| e.to_string())?;
    let stdout = std::io::stdout();
    let size = rustix::termios::tcgetwinsize(&stdout).ok().filter(|_| stdout.is_terminal());
    let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
    let format = options.format(&choice, width).map_err(|e| e.to_string())?;
    let words: Vec<_> = args.iter().map(|word| word.to_string_lossy()).collect();
    let snapshot = listing::snapshot(&words.join(" "))
        .map_err(|e| format!("cannot list the namespaces: {}", super::failure::text(&e)))?;
    let rows = list::rows(&snapshot, &choice).map_err(|e| e.to_string())?;
    Ok(print(&list::render(&snapshot, &rows, &format)))
}

fn print(text: &str) -> u8 {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => 0,
        // A reader that has gone wants no more.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => 0,
        Err(_) => OURS,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Verb::command().debug_assert();
    }

    #[test]
    fn other_verbs_are_left_alone() {
        for args in [&[][..], &["serve"], &["--help"]] {
            let args: Vec<OsString> = args.iter().map(Into::into).collect();
            assert!(run(&args).is_none(), "{args:?}");
        }
    }
}
