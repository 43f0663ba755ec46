//! The verbs that run a program in the guest, from arguments to exit code.

use std::io::IsTerminal;
use std::path::Path;

use super::environment::{self, Target};
use super::namespace::verdict::{OURS, Wording, verdict};
use super::namespace::{ExecArgs, Host, NsenterArgs, RunArgs, UnshareArgs, UsageError};
use super::printer::{Printer, Verbosity};
use super::report;
use crate::app::{self, Place};
use crate::namespace::explain::render;
use crate::protocol::outcome::Outcome;
use crate::protocol::request::ExecRequest;

pub fn unshare(target: &Target, args: &UnshareArgs) -> u8 {
    let request = args.resolve(&Host::real());
    run_or_explain(target, Wording::Unshare, request, args.explain)
}

pub fn nsenter(target: &Target, args: &NsenterArgs) -> u8 {
    let request = args.resolve(&Host::real());
    run_or_explain(target, Wording::Nsenter, request, args.explain)
}

fn run_or_explain(
    target: &Target,
    wording: Wording,
    request: Result<ExecRequest, UsageError>,
    explains: bool,
) -> u8 {
    match request {
        Ok(request) if explains => explain(target, wording, request),
        request => run(target, wording, request),
    }
}

/// Prints the plan of the request.
fn explain(target: &Target, wording: Wording, request: ExecRequest) -> u8 {
    let plan = environment::place(target).and_then(|place| app::run::explain(&place, request));
    match plan {
        Ok(Ok(plan)) => {
            out!("{}", render(&plan.steps, &plan.program));
            0
        }
        Ok(Err(failure)) => {
            let verdict = verdict(wording, &Outcome::NotStarted(failure));
            verdict.message.iter().for_each(|message| report::note(message));
            verdict.code
        }
        Err(e) => {
            report::error(&e);
            OURS
        }
    }
}

/// `nsvm run`: what this host has of its root is sent first.
pub fn on_root(target: &Target, args: &RunArgs) -> u8 {
    let mut request = args.resolve(&Host::real());
    if let (Ok(request), Some(path)) = (&mut request, args.on_host())
        && let Err(e) = send_root(target, path, request)
    {
        report::error(&e);
        return OURS;
    }
    run_or_explain(target, Wording::Podman, request, args.explain)
}

/// Only a screen is told how far that is: a script did not ask for it.
fn send_root(target: &Target, path: &Path, request: &mut ExecRequest) -> anyhow::Result<()> {
    let screen = std::io::stderr().is_terminal();
    let printer = Printer::new(if screen { Verbosity::Normal } else { Verbosity::Quiet });
    let root = app::rootfs::ensure(&environment::place(target)?, path, &printer)?;
    if let Some(run) = &mut request.run {
        run.root = root;
    }
    Ok(())
}

pub fn exec(target: &Target, args: &ExecArgs) -> u8 {
    run(target, Wording::Podman, args.resolve(&Host::real()))
}

/// Runs the request and says how it ended.
pub fn run(target: &Target, wording: Wording, request: Result<ExecRequest, UsageError>) -> u8 {
    run_in(|| environment::place(target), wording, request)
}

/// The same from the user's home on, wherever it is typed.
pub fn run_at_home(target: &Target, request: Result<ExecRequest, UsageError>) -> u8 {
    run_in(|| environment::place(target).map(Place::at_home), Wording::Podman, request)
}

fn run_in(
    place: impl FnOnce() -> anyhow::Result<Place>,
    wording: Wording,
    request: Result<ExecRequest, UsageError>,
) -> u8 {
    let request = match request {
        Ok(request) => request,
        Err(e) => {
            report::note(&wording.line(&e.to_string()));
            return wording.usage_code();
        }
    };
    let outcome = place().and_then(|place| app::run::run(&place, request, report::aside));
    match outcome {
        Ok(outcome) => {
            let verdict = verdict(wording, &outcome);
            if let Some(message) = verdict.message {
                report::note(&message);
            }
            verdict.code
        }
        Err(e) => {
            report::error(&e);
            OURS
        }
    }
}
