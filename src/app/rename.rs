//! Giving a stopped machine another name.
//!
//! Files are linked under the new name, then the new config makes the machine
//! exist there, then the old one goes: at no moment is there no machine.

use std::fs;
use std::io;
use std::path::Path;

use super::{Context, Refusal, connections};
use crate::fs::create_dir_owner_only;
use crate::image::Cache;
use crate::machine::config::MachineConfig;
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::store::{StoreError, io_error};

/// Renames the machine; its guest has the new host name from the next start on.
pub fn rename(
    context: &Context,
    old: &MachineName,
    new: &MachineName,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let store = &context.store;
    store.load(old)?;
    let locks = store.lock_both(old, new)?;
    let config = store.load(old)?;
    stopped(context, old, "renamed")?;
    if store.exists(new) {
        return Err(StoreError::Exists(new.clone()).into());
    }
    let connected = connections::made(context, old);
    connections::forget(context, old, progress);
    let (from, to) = (store.paths(old), store.paths(new));
    // Of an attempt that was killed.
    store.remove_files_except(new, &to.lock())?;
    let cache = Cache::open(&store.dirs().cache)?;
    let claim = cache.claim(&config.image, new.as_str(), &to.overlay())?;
    let linked = link_all(&from.data_dir(), &to.data_dir())
        .and_then(|()| link(&from.ignition(), &to.ignition()));
    let mut renamed = MachineConfig { name: new.clone(), ..config };
    renamed.changes.renamed = true;
    if let Err(e) = linked.and_then(|()| store.save(&renamed)) {
        store.remove_files_except(new, &to.lock())?;
        return Err(e.into());
    }
    drop(claim);
    if store.default_name() == *old {
        store.set_default(new)?;
    }
    // What is left is litter; the logs are worth keeping.
    let _ = fs::create_dir_all(to.state_dir().parent().unwrap_or(Path::new(".")));
    let _ = fs::rename(from.state_dir(), to.state_dir());
    store.remove_files(old)?;
    drop(locks);
    connections::renew(context, new, connected, progress);
    Ok(())
}

/// Refuses a machine that is not stopped.
pub fn stopped(context: &Context, name: &MachineName, done: &str) -> Result<(), Refusal> {
    let hint = match context.store.status(name) {
        Status::Stopped => return Ok(()),
        // Its memory belongs to it as it is.
        Status::Suspended => format!(
            "Start and stop it, or give up what it was doing: `nsvm machine stop --force {name}`"
        ),
        _ => format!("Stop it with `nsvm machine stop {name}`"),
    };
    Err(Refusal::new(format!("machine \"{name}\" cannot be {done}: it is not stopped")).hint(hint))
}

fn link_all(from: &Path, to: &Path) -> Result<(), StoreError> {
    create_dir_owner_only(to).map_err(io_error("creating", to))?;
    for entry in fs::read_dir(from).map_err(io_error("reading the directory", from))? {
        let entry = entry.map_err(io_error("reading the directory", from))?;
        let (inner, target) = (entry.path(), to.join(entry.file_name()));
        if inner.is_dir() {
            link_all(&inner, &target)?;
        } else {
            link(&inner, &target)?;
        }
    }
    Ok(())
}

fn link(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::hard_link(from, to) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && !from.exists() => Ok(()),
        linked => linked.map_err(io_error("linking", to)),
    }
}
