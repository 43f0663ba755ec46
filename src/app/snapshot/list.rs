//! What `snapshot list` shows: a tree, parents before what came of them.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::Context;
use crate::app::inspect::time;
use crate::host;
use crate::image::{chain, layer_name};
use crate::machine::name::MachineName;
use crate::machine::snapshot::Snapshot;
use crate::store::StoreError;

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ListedSnapshot {
    pub name: String,
    /// The snapshot that this one came after; empty: none.
    pub parent: String,
    pub created: String,
    /// The guest ran, and its memory was kept.
    pub memory: bool,
    /// Bytes that it takes on this host.
    pub size: u64,
    /// The machine's present came after this one.
    pub current: bool,
    /// For the table.
    #[serde(skip)]
    pub depth: usize,
    #[serde(skip)]
    pub at: Timestamp,
}

/// The machine's snapshots, and what could not be read.
pub fn list(
    context: &Context,
    name: &MachineName,
) -> anyhow::Result<(Vec<ListedSnapshot>, Vec<StoreError>)> {
    context.store.load(name)?;
    let paths = context.store.paths(name);
    let (snapshots, bad) = context.store.snapshots(name)?;
    let layer = |snapshot: &Snapshot| paths.data_dir().join(layer_name(snapshot.layer));
    // The nearest layer below that has a name.
    let below = |disk: &Path| -> anyhow::Result<Option<&Snapshot>> {
        let chain = chain(disk)?;
        let named = |below: &PathBuf| snapshots.iter().find(|one| layer(one) == *below);
        Ok(chain.iter().find_map(named))
    };
    let current = below(&paths.overlay())?.map(|snapshot| &snapshot.name);
    let mut found = Vec::new();
    for snapshot in &snapshots {
        let memory = paths.snapshot_memory(&snapshot.name);
        found.push(ListedSnapshot {
            name: snapshot.name.to_string(),
            parent: below(&layer(snapshot))?.map(|one| one.name.to_string()).unwrap_or_default(),
            created: time(Some(snapshot.created)),
            memory: snapshot.memory.is_some(),
            size: taken(&layer(snapshot)) + taken(&memory),
            current: current == Some(&snapshot.name),
            depth: 0,
            at: snapshot.created,
        });
    }
    Ok((in_tree(&found), bad))
}

/// Bytes of the file on this host.
fn taken(path: &Path) -> u64 {
    path.metadata().map_or(0, |found| host::allocated_bytes(&found))
}

/// Each after its parent, those of one parent by age.
fn in_tree(snapshots: &[ListedSnapshot]) -> Vec<ListedSnapshot> {
    fn add(to: &mut Vec<ListedSnapshot>, all: &[ListedSnapshot], parent: &str, depth: usize) {
        // A circle cannot be; should it all the same, it has an end.
        if depth > all.len() {
            return;
        }
        for one in all.iter().filter(|one| one.parent == parent) {
            to.push(ListedSnapshot { depth, ..one.clone() });
            add(to, all, &one.name, depth + 1);
        }
    }
    let mut sorted = Vec::with_capacity(snapshots.len());
    add(&mut sorted, snapshots, "", 0);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_a_snapshot_follows_it() {
        let one = |name: &str, parent: &str| ListedSnapshot {
            name: name.into(),
            parent: parent.into(),
            created: String::new(),
            memory: false,
            size: 0,
            current: false,
            depth: 0,
            at: Timestamp::UNIX_EPOCH,
        };
        let all = vec![one("a", ""), one("b", "a"), one("z", ""), one("c", "a"), one("d", "b")];
        let shown: Vec<_> = in_tree(&all).into_iter().map(|one| (one.name, one.depth)).collect();
        let wanted = [("a", 0), ("b", 1), ("d", 2), ("c", 1), ("z", 0)];
        assert_eq!(shown, wanted.map(|(name, depth)| (name.to_owned(), depth)));
    }
}
