//! Removing a machine and everything of it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use super::stop::{self, StopRequest};
use super::{Context, Refusal, connections, left_over, protect};
use crate::fs::create_dir_owner_only;
use crate::image::{Cache, chain};
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::store::StoreError;

/// What of a machine shall survive it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveRequest {
    /// End a running machine first.
    pub force: bool,
    /// Keep what Ignition was given.
    pub save_ignition: bool,
    /// Keep its disk.
    pub save_image: bool,
}

/// What a removal deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub files: Vec<PathBuf>,
    /// Of other programs, each by a few words.
    pub connections: Vec<String>,
}

/// What a removal would delete; refused for a running machine without force.
pub fn plan(context: &Context, name: &MachineName, request: RemoveRequest) -> anyhow::Result<Plan> {
    if !context.store.has_traces(name) {
        // Whose command was killed has left its lock, which is no machine.
        drop(context.store.lock(name)?);
    }
    planned(context, name, request)
}

/// The same under the machine's lock or without it.
fn planned(context: &Context, name: &MachineName, request: RemoveRequest) -> anyhow::Result<Plan> {
    let stands = matches!(context.store.status(name), Status::Stopped | Status::Suspended);
    match context.store.load(name) {
        // One whose file is there all the same is another's, but for capitals.
        Err(missing @ StoreError::Missing { .. })
            if context.store.exists(name) || (!context.store.has_traces(name) && stands) =>
        {
            return Err(missing.into());
        }
        Ok(config) if config.protected => return Err(protect::refusal(name).into()),
        // A machine whose file cannot be read can still be removed, and so can
        // what a removal has left that was killed.
        _ => {}
    }
    if !request.force && !stands {
        return Err(Refusal::new(format!("running vm \"{name}\" cannot be destroyed"))
            .hint(format!("Stop it with `nsvm machine stop {name}`, or use `rm --force`"))
            .into());
    }
    Ok(Plan {
        files: context.store.files_of(name),
        connections: connections::made(context, name).names(name),
    })
}

/// Ends the machine where needed and deletes all of it, but for what shall be
/// saved: where that is now.
pub fn remove(
    context: &Context,
    name: &MachineName,
    request: RemoveRequest,
    progress: &dyn Progress,
) -> anyhow::Result<Vec<PathBuf>> {
    plan(context, name, request)?;
    // Under the lock, so that nobody starts it again in between.
    let lock = context.store.lock(name)?;
    if request.force && context.store.load(name).is_ok() {
        let now = StopRequest { force: true, timeout: Duration::ZERO };
        // Not `stop`, which takes the lock; a suspended state goes with the rest.
        stop::end_vm(context, name, now, progress)?;
    }
    left_over::settle(context, name)?;
    planned(context, name, RemoveRequest::default())?;
    let saved = save(context, name, request)?;
    connections::forget(context, name, progress);
    context.store.remove_files(name)?;
    drop(lock);
    Ok(saved)
}

/// Moves what shall be kept out of the way of a later machine of this name.
fn save(
    context: &Context,
    name: &MachineName,
    request: RemoveRequest,
) -> anyhow::Result<Vec<PathBuf>> {
    let (paths, dir) = (context.store.paths(name), context.store.dirs().saved());
    let wanted = [
        (request.save_ignition, paths.ignition(), "ign"),
        (request.save_image, paths.overlay(), "qcow2"),
    ];
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let mut saved = Vec::new();
    for (_, from, suffix) in wanted.into_iter().filter(|(wanted, from, _)| *wanted && from.exists())
    {
        let layers = if suffix == "qcow2" { chain(&from)? } else { Vec::new() };
        let kept = format!("{name}-{stamp}");
        // A disk and its layers know each other by bare names.
        let (dir, to) = match layers.as_slice() {
            [] => (dir.clone(), dir.join(format!("{kept}.{suffix}"))),
            _ => (dir.join(&kept), dir.join(&kept).join("disk.qcow2")),
        };
        create_dir_owner_only(&dir).with_context(|| format!("creating \"{}\"", dir.display()))?;
        // The disk goes on needing its base image, wherever it lies.
        let cache = Cache::open(&context.store.dirs().cache)?;
        let claim = match (suffix, context.store.load(name)) {
            ("qcow2", Ok(config)) => cache.claim(&config.image, name.as_str(), &to)?,
            _ => None,
        };
        for file in layers.iter().chain([&from]) {
            let to = if *file == from {
                to.clone()
            } else {
                dir.join(file.file_name().unwrap_or_default())
            };
            fs::rename(file, &to)
                .or_else(|_| fs::copy(file, &to).map(drop))
                .with_context(|| format!("saving \"{}\"", file.display()))?;
        }
        drop(claim);
        saved.push(to);
    }
    Ok(saved)
}
