//! Which layers of a machine's disk are needed, and by whom.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::app::Context;
use crate::image::{chain, layer_name, layer_number, layers_in, merge_down};
use crate::machine::config::MachineConfig;
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::status::Status;

/// A number that no layer has.
pub fn next(dir: &Path) -> anyhow::Result<u64> {
    let numbers = layers_in(dir).with_context(|| format!("reading \"{}\"", dir.display()))?;
    Ok(numbers.iter().filter_map(|path| number(path)).max().map_or(1, |last| last + 1))
}

fn number(path: &Path) -> Option<u64> {
    layer_number(path.file_name()?.to_str()?)
}

/// Removes the layers that neither the disk nor a snapshot needs, and what else
/// a command has left that was killed. In doubt all stay.
pub fn sweep(context: &Context, name: &MachineName) -> anyhow::Result<()> {
    let paths = context.store.paths(name);
    let (snapshots, unreadable) = context.store.snapshots(name)?;
    if let Some(e) = unreadable.into_iter().next() {
        return Err(e.into());
    }
    let _ = fs::remove_file(paths.overlay_in_progress());
    context.store.sweep_snapshots(name, &snapshots)?;
    let dir = paths.data_dir();
    let mut needed: BTreeSet<PathBuf> = chain(&paths.overlay())?.into_iter().collect();
    for snapshot in snapshots {
        let layer = dir.join(layer_name(snapshot.layer));
        needed.extend(chain(&layer)?);
        needed.insert(layer);
    }
    for layer in layers_in(&dir)?.into_iter().filter(|layer| !needed.contains(layer)) {
        fs::remove_file(&layer).with_context(|| format!("removing \"{}\"", layer.display()))?;
    }
    Ok(())
}

/// Gives back the space of layers that no snapshot names any more and only one
/// other needs: the two become one. What is in use stays until later.
pub fn merge(
    context: &Context,
    config: &MachineConfig,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let name = &config.name;
    let paths = context.store.paths(name);
    let (disk, dir) = (paths.overlay(), paths.data_dir());
    while let Some((upper, lower)) = mergeable(context, name)? {
        let standing = match context.store.status(name) {
            Status::Stopped => true,
            // The memory belongs to the disk as it is.
            Status::Suspended => upper != disk,
            _ => false,
        };
        if !standing {
            progress.note(format!(
                "Its disk space is freed when a snapshot is removed while \"{name}\" is stopped"
            ));
            return Ok(());
        }
        progress.step(format!("Merging \"{}\" into what lies on it", lower.display()));
        merge_down(&upper, config.image.format)?;
        fs::remove_file(&lower).with_context(|| format!("removing \"{}\"", lower.display()))?;
        crate::fs::sync_dir(&dir)?;
    }
    Ok(())
}

/// A layer without a name that is under exactly one other disk, and that disk.
fn mergeable(context: &Context, name: &MachineName) -> anyhow::Result<Option<(PathBuf, PathBuf)>> {
    let paths = context.store.paths(name);
    let (snapshots, _) = context.store.snapshots(name)?;
    let dir = paths.data_dir();
    let all = layers_in(&dir)?;
    let mut uppers = Vec::new();
    for upper in all.iter().cloned().chain([paths.overlay()]) {
        if let Some(lower) = chain(&upper)?.into_iter().next() {
            uppers.push((upper, lower));
        }
    }
    let named = |layer: &Path| snapshots.iter().any(|one| Some(one.layer) == number(layer));
    let found = all.iter().filter(|layer| !named(layer)).find_map(|layer| {
        let mut on_it = uppers.iter().filter(|(_, lower)| lower == layer);
        on_it.next().filter(|_| on_it.next().is_none())
    });
    Ok(found.cloned())
}
