//! The machines by which a template is made: in directories of their own, so that
//! nobody sees them, and with keys that are thrown away.

use std::fs;
use std::path::Path;

use tokio::task::spawn_blocking;

use crate::app::Context;
use crate::fs::{Access, create_dir_owner_only, write_atomic};
use crate::image::{Cache, create_overlay};
use crate::machine::config::{MachineConfig, SshConfig};
use crate::machine::name::MachineName;
use crate::machine::paths::Dirs;
use crate::provision::guest::Guest;
use crate::provision::{ignition, keys};
use crate::qemu::port::free_port;
use crate::store::Store;
use crate::supervisor::bring_up::failed;
use crate::supervisor::lifecycle::Failure;

/// Digits of a template's name that tell its machines' sockets apart.
const TAG: usize = 8;

/// The same surroundings with a home below `work`. Sockets are where all of this
/// user's are, because their paths must be short.
pub fn context(context: &Context, work: &Path) -> Context {
    let dirs = context.store.dirs();
    let runtime = dirs.runtime.join(".template");
    let hidden = Dirs::below(&work.join("home"), dirs.cache.clone(), runtime);
    Context { store: Store::new(hidden), ..context.clone() }
}

/// A name for one of the machines of a template.
pub fn name(role: &str, digest: &str) -> Result<MachineName, Failure> {
    let name = format!("{role}-{}", &digest[..TAG]);
    name.parse().map_err(|e| failed(format!("naming a machine: {e}")))
}

/// Makes a machine in all as `like`, but for whose it is.
pub async fn machine(
    hidden: &Context,
    like: &MachineConfig,
    name: MachineName,
) -> Result<MachineConfig, Failure> {
    let (hidden, like) = (hidden.clone(), like.clone());
    // What is done with disks runs a runtime of its own.
    let made = spawn_blocking(move || write(&hidden, &like, name)).await;
    made.map_err(|e| failed(format!("making a hidden machine: {e}")))?
}

fn write(
    hidden: &Context,
    like: &MachineConfig,
    name: MachineName,
) -> Result<MachineConfig, Failure> {
    let making = |e: &dyn std::fmt::Display| failed(format!("making a hidden machine: {e}"));
    let paths = hidden.store.paths(&name);
    for dir in [paths.data_dir(), paths.state_dir(), paths.config_dir(), paths.runtime_dir()] {
        create_dir_owner_only(&dir).map_err(|e| making(&e))?;
    }
    let cache = Cache::open(&hidden.store.dirs().cache).map_err(|e| making(&e))?;
    let base = cache.base(&like.image).map_err(|e| making(&e))?;
    let size = like.resources.disk_size.bytes();
    create_overlay(&paths.overlay(), &base, like.image.format, size).map_err(|e| making(&e))?;
    let comment = format!("nsvm {name}");
    let user_key = keys::generate(&comment).map_err(|e| making(&e))?;
    let host_key = keys::generate(&comment).map_err(|e| making(&e))?;
    let guest = Guest {
        hostname: name.as_str(),
        username: &like.ssh.username,
        uid: like.ssh.uid,
        authorized_key: &user_key.public,
        host_key: &host_key,
        time_zone: "Etc/UTC",
        swap: like.resources.swap,
        authorities: &[],
    };
    for (path, text) in [
        (paths.ignition(), &ignition::render(&guest, None)),
        (paths.identity(), &user_key.private),
        (paths.identity_public(), &user_key.public),
        (paths.host_key(), &host_key.private),
    ] {
        write_atomic(&path, text.as_bytes(), Access::Owner).map_err(|e| making(&e))?;
    }
    Ok(MachineConfig {
        name,
        uuid: uuid::Uuid::new_v4().to_string(),
        ssh: SshConfig {
            port: free_port(None).map_err(|e| making(&e))?,
            host_key: Some(host_key.public),
            ..like.ssh.clone()
        },
        ports: Vec::new(),
        ..like.clone()
    })
}

/// Removes the sockets of one.
pub fn clear(hidden: &Context, name: &MachineName) {
    let _ = fs::remove_dir_all(hidden.store.paths(name).runtime_dir());
    // Unless another template is being made.
    let _ = fs::remove_dir(&hidden.store.dirs().runtime);
}
