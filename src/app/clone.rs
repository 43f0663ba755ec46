//! A copy of a machine: the same disk contents and settings, but keys,
//! machine-id and host name of its own, which its guest is told at each start
//! (`provision::settings`).

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;

use super::rename::stopped;
use super::standing::{check, go_on, stand};
use super::{Context, Refusal, awake};
use crate::fs::{Access, create_dir_owner_only, write_atomic};
use crate::host;
use crate::image::{Cache, chain};
use crate::machine::config::{Changes, Copied, MachineConfig, SshConfig};
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::provision::keys;
use crate::qemu::port::free_port;
use crate::store::{History, StoreError, io_error};

/// Copies the machine; where that fails nothing of the copy is left.
pub fn clone(
    context: &Context,
    from: &MachineName,
    to: &MachineName,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let config = context.store.load(from)?;
    possible(context, &config, to)?;
    // What is only in its memory would be missing in the copy.
    if awake::is_asleep(context, from) {
        awake::wake(context, from)?;
    }
    if context.store.status(from) != Status::Running {
        stopped(context, from, "cloned")?;
    }
    let before = stand(context, from, progress)?;
    let done = make_locked(context, from, to, progress);
    go_on(context, from, before, done)
}

/// Refuses what cannot be before the guest is disturbed.
fn possible(context: &Context, config: &MachineConfig, to: &MachineName) -> anyhow::Result<()> {
    let (store, from) = (&context.store, &config.name);
    if store.exists(to) {
        return Err(StoreError::Exists(to.clone()).into());
    }
    if !config.provisioning.is_ours() {
        let text = format!(
            "nothing of nsvm is in the guest of \"{from}\" that could give the copy keys of its own"
        );
        return Err(Refusal::new(text).hint("Use `nsvm machine export` and `import`").into());
    }
    if store.history(from).last_up.is_none() {
        let text = format!("machine \"{from}\" was never started: there is nothing to copy yet");
        return Err(Refusal::new(text).hint("Start it once, or make a new one with init").into());
    }
    Ok(())
}

fn make_locked(
    context: &Context,
    from: &MachineName,
    to: &MachineName,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let store = &context.store;
    let _locks = store.lock_both(from, to)?;
    let config = store.load(from)?;
    possible(context, &config, to)?;
    check(context, from)?;
    let lock = store.paths(to).lock();
    store.remove_files_except(to, &lock)?;
    progress.step(format!("Copying the disk of \"{from}\""));
    let made = make(context, config, to);
    if made.is_err() {
        store.remove_files_except(to, &lock)?;
    }
    made
}

fn make(context: &Context, config: MachineConfig, name: &MachineName) -> anyhow::Result<()> {
    let store = &context.store;
    let (from, to) = (store.paths(&config.name), store.paths(name));
    let cache = Cache::open(&store.dirs().cache)?;
    let claim = cache.claim(&config.image, name.as_str(), &to.overlay())?;
    create_dir_owner_only(&to.data_dir())
        .with_context(|| format!("creating \"{}\"", to.data_dir().display()))?;
    copy(&from.overlay(), &to.overlay())?;
    for layer in chain(&from.overlay())? {
        share(&layer, &to.data_dir().join(layer.file_name().unwrap_or_default()))?;
    }
    copy(&from.seed(), &to.seed())?;
    copy(&from.ignition(), &to.ignition())?;
    let comment = format!("nsvm {name}");
    let user_key = keys::generate(&comment).context("making the user key")?;
    let host_key = keys::generate(&comment).context("making the host key")?;
    write(&to.identity(), &user_key.private, Access::Owner)?;
    write(&to.identity_public(), &format!("{}\n", user_key.public), Access::Default)?;
    write(&to.host_key(), &host_key.private, Access::Owner)?;
    let known = fs::read_to_string(from.identity_public())
        .map_err(io_error("reading", &from.identity_public()))?;
    let history = History { created: Some(Timestamp::now()), ..History::default() };
    store.save_history(name, &history)?;
    let copied = Copied {
        machine_id: uuid::Uuid::new_v4().simple().to_string(),
        user_key: known.trim().to_owned(),
    };
    store.save(&MachineConfig {
        name: name.clone(),
        uuid: uuid::Uuid::new_v4().to_string(),
        ssh: SshConfig {
            port: free_port(None).context("reserving a port on 127.0.0.1")?,
            host_key: Some(host_key.public),
            ..config.ssh
        },
        protected: false,
        changes: Changes { renamed: true, copied: Some(copied), ..config.changes },
        ..config
    })?;
    drop(claim);
    Ok(())
}

/// A layer is never written again, so two machines may have it; where the file
/// system knows no second names it is copied.
fn share(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::hard_link(from, to).or_else(|_| copy(from, to))
}

/// Shares blocks where the file system can; a file that is not there is none.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    let copied = fs::copy(from, to)
        .and_then(|_| host::restrict_to_owner(to))
        // Windows flushes only what is open for writing.
        .and_then(|()| fs::File::options().write(true).open(to)?.sync_all());
    copied.with_context(|| format!("copying \"{}\"", from.display()))
}

fn write(path: &Path, text: &str, access: Access) -> Result<(), StoreError> {
    write_atomic(path, text.as_bytes(), access).map_err(io_error("writing", path))
}
