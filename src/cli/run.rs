//! The verbs that run a program in the guest, from arguments to exit code.

use super::namespace::verdict::{OURS, Wording, verdict};
use super::namespace::{ExecArgs, Host, UnshareArgs, UsageError};
use super::{environment, report};
use crate::app;
use crate::machine::name::MachineName;
use crate::protocol::request::ExecRequest;

pub fn unshare(machine: &MachineName, args: &UnshareArgs) -> u8 {
    run(machine, Wording::Unshare, args.resolve(&Host::real()))
}

pub fn exec(machine: &MachineName, args: &ExecArgs) -> u8 {
    run(machine, Wording::Podman, args.resolve(&Host::real()))
}

/// Runs the request and says how it ended.
pub fn run(
    machine: &MachineName,
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
    let outcome =
        environment::context().and_then(|context| app::run::run(&context, machine, request));
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
