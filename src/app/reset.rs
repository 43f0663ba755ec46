//! Taking away everything of nsvm but the user's config file.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::image::prune;
use super::remove::{RemoveRequest, remove};
use super::{Context, Refusal, protect};
use crate::machine::event::Progress;
use crate::machine::name::MachineName;

/// What a reset deletes, besides the images that nobody else uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub machines: Vec<MachineName>,
    pub directories: Vec<PathBuf>,
}

/// What a reset would delete. Machines whose file cannot be read go with the
/// directories.
pub fn plan(context: &Context) -> anyhow::Result<Plan> {
    let (configs, _unreadable) = context.store.list()?;
    if let Some(kept) = configs.iter().find(|config| config.protected) {
        return Err(protect::refusal(&kept.name).into());
    }
    let dirs = context.store.dirs();
    let all = [&dirs.machines(), &dirs.data, &dirs.runtime, &dirs.state];
    Ok(Plan {
        machines: configs.into_iter().map(|config| config.name).collect(),
        directories: all.into_iter().filter(|path| path.exists()).cloned().collect(),
    })
}

/// Removes every machine, ending it first; then the directories, and of the
/// cache, which other homes may share, what none of their machines needs.
pub fn reset(context: &Context, plan: &Plan, progress: &dyn Progress) -> anyhow::Result<()> {
    for name in &plan.machines {
        remove(context, name, RemoveRequest { force: true, ..RemoveRequest::default() }, progress)?;
    }
    if let Some(name) = context.store.living_vms()?.first() {
        let text = format!("a VM of \"{name}\" runs, and its config cannot be read");
        return Err(Refusal::new(text).hint("End its QEMU process, then repeat this").into());
    }
    for dir in &plan.directories {
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                let text = format!("cannot remove \"{}\": {e}", dir.display());
                return Err(Refusal::new(text).hint("Mend that, then repeat this").into());
            }
            _ => {}
        }
    }
    let (_freed, failed) = prune::plan(context, true)?.carry_out(context);
    failed.into_iter().next().map_or(Ok(()), Err)
}
