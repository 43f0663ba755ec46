//! Removing a machine and everything of it.

use std::path::PathBuf;
use std::time::Duration;

use super::stop::{self, StopRequest};
use super::{Context, Refusal};
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::status::Status;

/// What of a machine shall survive it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveRequest {
    /// End a running machine first.
    pub force: bool,
}

/// What a removal would delete; refused for a running machine without force.
pub fn plan(
    context: &Context,
    name: &MachineName,
    request: RemoveRequest,
) -> anyhow::Result<Vec<PathBuf>> {
    // A machine whose file cannot be read can still be removed.
    if !context.store.exists(name) {
        context.store.load(name)?;
    }
    if !request.force && context.store.status(name) != Status::Stopped {
        return Err(Refusal::new(format!("running vm \"{name}\" cannot be destroyed"))
            .hint(format!("Stop it with `nsvm machine stop {name}`, or use `rm --force`"))
            .into());
    }
    Ok(context.store.files_of(name))
}

/// Ends the machine where needed and deletes all of it.
pub fn remove(
    context: &Context,
    name: &MachineName,
    request: RemoveRequest,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    plan(context, name, request)?;
    if request.force && context.store.load(name).is_ok() {
        let now = StopRequest { force: true, timeout: Duration::ZERO };
        stop::stop(context, name, now, progress)?;
    }
    let lock = context.store.lock(name)?;
    plan(context, name, RemoveRequest::default())?;
    context.store.remove_files(name)?;
    drop(lock);
    Ok(())
}
