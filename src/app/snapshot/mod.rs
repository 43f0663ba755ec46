//! Snapshots: states of a machine that are kept under names, its disk and, where
//! its guest ran, its memory.
//!
//! ```text
//! create   disk.qcow2 -> base            restore b
//!          disk.qcow2 -> layer-1 (a)     disk.qcow2 -> layer-2 (b) -> layer-1 (a) -> base
//! ```
//!
//! The present is an empty overlay on a layer that is never written again. Each
//! step is one rename; what a kill leaves beside it is swept by the next command.

mod layers;
mod list;

use std::fs;

use anyhow::Context as _;
use jiff::Timestamp;

use super::standing::{Before, check, go_on, stand};
use super::stop::{StopRequest, end_vm};
use super::{Context, Refusal};
use crate::fs::sync_dir;
use crate::image::{DEEPEST, chain, create_on_layer, layer_name, put, virtual_size};
use crate::machine::config::{DiskFormat, MachineConfig};
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::snapshot::{Snapshot, SnapshotName, VERSION};
use crate::machine::status::Status;
use crate::machine::suspended::{Reason, Suspended};
use crate::store::{History, Suspension};

pub use list::{ListedSnapshot, list};

/// What becomes of the state that a restored one takes the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Present {
    /// It is a snapshot of this name first.
    Keep(SnapshotName),
    Discard,
}

/// Keeps the machine's state under a name. One that runs stands still meanwhile
/// and goes on.
pub fn create(
    context: &Context,
    name: &MachineName,
    snapshot: &SnapshotName,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    possible(context, name, snapshot)?;
    let before = stand(context, name, progress)?;
    let done = context
        .store
        .lock(name)
        .map_err(Into::into)
        .and_then(|_lock| keep(context, name, snapshot));
    go_on(context, name, before, done)
}

/// Puts the machine back to a snapshot. One that runs goes on from there; a
/// snapshot with memory makes of one that does not a suspended one.
pub fn restore(
    context: &Context,
    name: &MachineName,
    snapshot: &SnapshotName,
    present: &Present,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let store = &context.store;
    find(context, name, snapshot)?;
    let before = match present {
        Present::Keep(kept) => {
            possible(context, name, kept)?;
            stand(context, name, progress)?
        }
        Present::Discard => {
            let ran = !matches!(store.status(name), Status::Stopped | Status::Suspended);
            end_vm(
                context,
                name,
                StopRequest { force: true, timeout: std::time::Duration::ZERO },
                progress,
            )?;
            if ran { Before::Running } else { Before::Standing }
        }
    };
    let done = store.lock(name).map_err(Into::into).and_then(|_lock| {
        check(context, name)?;
        let config = store.load(name)?;
        let found = find(context, name, snapshot)?;
        if let Present::Keep(kept) = present {
            keep(context, name, kept)?;
        }
        lay(context, &config, &found, before)
    });
    go_on(context, name, before, done)
}

/// Removes a snapshot, and of its disk what nothing else needs.
pub fn remove(
    context: &Context,
    name: &MachineName,
    snapshot: &SnapshotName,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let config = context.store.load(name)?;
    let _lock = context.store.lock(name)?;
    find(context, name, snapshot)?;
    context.store.remove_snapshot(name, snapshot)?;
    layers::sweep(context, name)?;
    layers::merge(context, &config, progress)
}

/// Refuses what cannot be before the guest is disturbed.
fn possible(context: &Context, name: &MachineName, snapshot: &SnapshotName) -> anyhow::Result<()> {
    let store = &context.store;
    store.load(name)?;
    if store.paths(name).snapshot(snapshot).exists() {
        let text = format!("machine \"{name}\" has a snapshot \"{snapshot}\" already");
        let hint = format!(
            "Choose another name, or delete it with `nsvm machine snapshot rm {name} {snapshot}`"
        );
        return Err(Refusal::new(text).hint(hint).into());
    }
    if store.history(name).last_up.is_none() {
        let text = format!("machine \"{name}\" was never started: there is nothing to keep yet");
        return Err(Refusal::new(text).hint("Start it once").into());
    }
    if chain(&store.paths(name).overlay())?.len() + 1 >= DEEPEST {
        let text = format!("machine \"{name}\" has {DEEPEST} snapshots on top of each other");
        return Err(Refusal::new(text).hint("Remove some of them").into());
    }
    Ok(())
}

/// The snapshot; one that is not there is refused.
pub fn find(
    context: &Context,
    name: &MachineName,
    snapshot: &SnapshotName,
) -> anyhow::Result<Snapshot> {
    context.store.load(name)?;
    context.store.snapshot(name, snapshot)?.ok_or_else(|| {
        Refusal::new(format!("machine \"{name}\" has no snapshot \"{snapshot}\""))
            .hint(format!("See `nsvm machine snapshot list {name}`"))
            .into()
    })
}

/// Under the lock, while nothing runs.
fn keep(context: &Context, name: &MachineName, snapshot: &SnapshotName) -> anyhow::Result<()> {
    check(context, name)?;
    possible(context, name, snapshot)?;
    layers::sweep(context, name)?;
    let frozen = freeze(context, name);
    if frozen.is_err() {
        layers::sweep(context, name)?;
    }
    let (layer, memory) = frozen?;
    let kept = Snapshot {
        version: VERSION,
        name: snapshot.clone(),
        created: Timestamp::now(),
        layer,
        memory: memory.map(|header| Suspended { next_disk: None, ..header }),
    };
    Ok(context.store.save_snapshot(name, &kept)?)
}

/// Makes a layer of the disk, and an empty overlay on it the disk. A memory that
/// belongs to the one belongs to the other: they show the same.
fn freeze(context: &Context, name: &MachineName) -> anyhow::Result<(u64, Option<Suspended>)> {
    let (store, paths) = (&context.store, context.store.paths(name));
    let (disk, new, dir) = (paths.overlay(), paths.overlay_in_progress(), paths.data_dir());
    let number = layers::next(&dir)?;
    let layer = dir.join(layer_name(number));
    // From here on the disk has two names.
    fs::hard_link(&disk, &layer)
        .and_then(|()| sync_dir(&dir))
        .with_context(|| format!("linking \"{}\"", layer.display()))?;
    create_on_layer(&new, &layer, None)?;
    let Suspension::Whole(mut header) = store.suspension(name) else {
        put(&new, &disk)?;
        return Ok((number, None));
    };
    header.next_disk = Some(store.generation_of(name, &new)?);
    store.write_header(name, &header)?;
    put(&new, &disk)?;
    header.disk = store.disk_generation(name)?;
    header.next_disk = None;
    store.write_header(name, &header)?;
    Ok((number, Some(*header)))
}

/// Makes the snapshot the present.
fn lay(
    context: &Context,
    config: &MachineConfig,
    snapshot: &Snapshot,
    before: Before,
) -> anyhow::Result<()> {
    let (store, name) = (&context.store, &config.name);
    let paths = store.paths(name);
    let layer = paths.data_dir().join(layer_name(snapshot.layer));
    let new = paths.overlay_in_progress();
    // A memory knows how large its disk is; else the disk is what the config says.
    let size = snapshot.memory.is_none().then(|| config.resources.disk_size.bytes());
    create_on_layer(&new, &layer, size)?;
    let grown = virtual_size(&new, DiskFormat::Qcow2)? > virtual_size(&layer, DiskFormat::Qcow2)?;
    // Until the rename below the memory fits no disk, and a start boots what was.
    store.discard_suspension(name)?;
    if let Some(memory) = &snapshot.memory {
        store.lay_memory(name, &snapshot.name)?;
        let reason = if before == Before::Running { Reason::Brief } else { Reason::Asked };
        let disk = store.generation_of(name, &new)?;
        let header = Suspended { disk, reason, next_disk: None, ..memory.clone() };
        store.write_header(name, &header)?;
    }
    put(&new, &paths.overlay())?;
    if grown {
        let history = store.history(name);
        store.save_history(name, &History { grown, ..history })?;
    }
    layers::sweep(context, name)
}
