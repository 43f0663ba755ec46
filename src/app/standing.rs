//! What is done to a machine while its guest stands still: one that runs is
//! suspended for that and goes on afterwards, whatever came of it.

use std::sync::atomic::AtomicBool;

use anyhow::Context as _;

use super::{Context, Refusal, awake, left_over, start, suspend};
use crate::machine::event::{Progress, Silent};
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::machine::suspended::Reason;

/// Whether a machine ran, and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Running,
    Standing,
}

/// Makes the guest stand still. A kill after this leaves a machine that the next
/// command resumes.
pub fn stand(
    context: &Context,
    name: &MachineName,
    progress: &dyn Progress,
) -> anyhow::Result<Before> {
    match context.store.status(name) {
        Status::Stopped => Ok(Before::Standing),
        Status::Suspended => Ok(match context.store.suspend_reason(name) {
            // Of a command that was killed.
            Some(Reason::Brief) => Before::Running,
            _ => Before::Standing,
        }),
        _ => {
            suspend::suspend(context, name, Reason::Brief, progress)?;
            Ok(Before::Running)
        }
    }
}

/// Lets it go on, if it ran; `done` is what came of the work, and counts first.
pub fn go_on<T>(
    context: &Context,
    name: &MachineName,
    before: Before,
    done: anyhow::Result<T>,
) -> anyhow::Result<T> {
    if before == Before::Standing {
        return done;
    }
    let woken = match context.store.status(name) {
        Status::Suspended => awake::wake(context, name),
        _ => start::ensure_started(context, name, &Silent, &AtomicBool::new(false)),
    };
    let done = done?;
    woken.with_context(|| format!("letting machine \"{name}\" go on")).map(|()| done)
}

/// For whoever holds the machine's lock: nothing of it runs, and nothing is left
/// over.
pub fn check(context: &Context, name: &MachineName) -> anyhow::Result<Status> {
    left_over::settle(context, name)?;
    match context.store.status(name) {
        status @ (Status::Stopped | Status::Suspended) => Ok(status),
        _ => {
            let text = format!("machine \"{name}\" was started by somebody else meanwhile");
            Err(Refusal::new(text).hint("Try again").into())
        }
    }
}
