//! Making a machine: check, get the image, write everything, commit.
//!
//! The config file is written last, and it is what makes a machine exist: a
//! crash before that leaves only litter that the next init of the name sweeps.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use jiff::Timestamp;

use super::provisioning::{Inputs, ProvisionRequest};
use super::sharing::{self, Sharing};
use super::{Context, Refusal, resources};
use crate::fs::{Access, create_dir_owner_only, write_atomic};
use crate::host;
use crate::image::{self, Cache, Catalog, Choices, ImageError, Prepared, Wanted};
use crate::machine::config::{Arch, Changes, MachineConfig, Resources, SshConfig, VERSION};
use crate::machine::event::Progress;
use crate::machine::idle::IdleTime;
use crate::machine::name::MachineName;
use crate::machine::published::Published;
use crate::machine::units::{GiB, MiB, human_bytes};
use crate::machine::volume::Volume;
use crate::provision::guest::Guest;
use crate::provision::keys;
use crate::qemu::port::free_port;
use crate::store::{History, StoreError};

/// An image that is removed twice while it is wanted is so on purpose.
const ATTEMPTS: u32 = 3;

/// What the user wants, defaults filled in.
#[derive(Debug, Clone)]
pub struct InitRequest {
    pub name: MachineName,
    pub cpus: u32,
    pub memory: MiB,
    pub disk_size: GiB,
    pub image: ImageRequest,
    pub provision: ProvisionRequest,
    /// `None`: what the image's catalog entry says.
    pub username: Option<String>,
    pub rootful: bool,
    pub sharing: Sharing,
    pub idle_suspend: IdleTime,
}

impl InitRequest {
    fn resources(&self) -> Resources {
        Resources {
            cpus: self.cpus,
            disk_size: self.disk_size,
            memory: self.memory,
            swap: self.provision.swap,
        }
    }
}

/// Which image, and how to come by it.
#[derive(Debug, Clone)]
pub struct ImageRequest {
    /// `--sha256`: of the file as published.
    pub sha256: Option<String>,
    pub arch: Arch,
    /// All layers; `default` is the image.
    pub choices: Choices,
}

/// Creates the machine. When it fails or `interrupted` is set, nothing of it
/// is left behind.
pub fn init(
    context: &Context,
    request: &InitRequest,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> anyhow::Result<MachineConfig> {
    resources::check(&request.resources(), host::cpus(), host::memory_bytes())?;
    check_username(request.username.as_deref())?;
    let volumes = request.sharing.volumes()?;
    let ports = request.sharing.ports()?;
    let alone = request.provision.brings_nothing();
    sharing::check_provisioning(&volumes, alone)?;
    if alone && !request.idle_suspend.is_off() {
        progress.warn(
            "nothing of nsvm is in this guest that tells whether it is idle: \
             it will not be suspended by itself",
        );
    }
    let inputs = Inputs::read(&request.provision)?;
    let _lock = context.store.lock(&request.name)?;
    if context.store.exists(&request.name) {
        return Err(StoreError::Exists(request.name.clone()).into());
    }
    let cache = Cache::open(&context.store.dirs().cache)?;
    let (prepared, claim) = claimed_image(context, &cache, request, progress, interrupted)?;
    check_disk(context, request.disk_size, &prepared, progress)?;
    sweep(context, &request.name)?;
    let made = make(context, request, &prepared, &inputs, (volumes, ports), interrupted);
    if made.is_err() {
        sweep(context, &request.name)?;
    }
    drop(claim);
    made
}

/// Litter of an init that was killed. The caller holds the lock, whose file
/// must stay.
fn sweep(context: &Context, name: &MachineName) -> Result<(), StoreError> {
    let lock = context.store.paths(name).lock();
    context.store.remove_files_except(name, &lock)
}

/// What useradd(8) accepts: it stands in paths and in sudo's files.
pub(super) fn check_username(name: Option<&str>) -> Result<(), Refusal> {
    const MAX: usize = 32;
    let Some(name) = name else { return Ok(()) };
    let first = |c: char| c == '_' || c.is_ascii_lowercase();
    let rest = |c: char| first(c) || c == '-' || c.is_ascii_digit();
    if name.starts_with(first) && name.chars().all(rest) && name.len() <= MAX {
        return Ok(());
    }
    Err(Refusal::new(format!("\"{}\" cannot be the name of a user", name.escape_debug()))
        .hint("Give --username small letters, digits, - and _, a letter first"))
}

/// The image, and what keeps `image rm` from its base until the machine's disk
/// exists. A base that was removed just before is got again.
fn claimed_image<'c>(
    context: &Context,
    cache: &'c Cache,
    request: &InitRequest,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> Result<(Prepared, Option<image::Held<'c>>), ImageError> {
    let overlay = context.store.paths(&request.name).overlay();
    let mut lost = String::new();
    for _ in 0..ATTEMPTS {
        let prepared = prepare_image(context, &request.image, progress, interrupted)?;
        match cache.claim(&prepared.pin, request.name.as_str(), &overlay) {
            Err(ImageError::BaseMissing { image, .. }) => lost = image,
            claim => return Ok((prepared, claim?)),
        }
    }
    Err(ImageError::Removed(lost))
}

/// Gets an image into the cache, unless it is there.
pub fn prepare_image(
    context: &Context,
    request: &ImageRequest,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> Result<Prepared, ImageError> {
    let cache = Cache::open(&context.store.dirs().cache)?;
    let source = request.choices.default.as_deref().unwrap_or(&Catalog::embedded().default);
    let wanted = Wanted { source, sha256: request.sha256.as_deref(), arch: request.arch };
    let settings = request.choices.clone().settings();
    image::prepare(&cache, &wanted, &settings, progress, interrupted)
}

/// The disk holds what is in the image, and its file system can hold the disk.
fn check_disk(
    context: &Context,
    size: GiB,
    prepared: &Prepared,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let needed = prepared.pin.virtual_size;
    if size.bytes() < needed {
        let text = format!(
            "a disk of {} GiB is smaller than the image, which has {}",
            size.0,
            human_bytes(needed)
        );
        let least = needed.div_ceil(GiB(1).bytes());
        return Err(Refusal::new(text).hint(format!("Use --disk-size {least} or more")).into());
    }
    resources::check_room(context, size, progress)
}

/// Writes everything of the machine, the config last.
fn make(
    context: &Context,
    request: &InitRequest,
    prepared: &Prepared,
    inputs: &Inputs,
    (volumes, ports): (Vec<Volume>, Vec<Published>),
    interrupted: &AtomicBool,
) -> anyhow::Result<MachineConfig> {
    let provisioning = inputs.decide(prepared.provisioner)?;
    inputs.check_units(&prepared.pin.source, prepared.systemd)?;
    let paths = context.store.paths(&request.name);
    let dir = paths.data_dir();
    create_dir_owner_only(&dir).with_context(|| format!("creating \"{}\"", dir.display()))?;
    image::create_overlay(
        &paths.overlay(),
        &prepared.base,
        prepared.pin.format,
        request.disk_size.bytes(),
    )?;
    let username = request.username.clone().unwrap_or_else(|| prepared.user.clone());
    sharing::check_home(&volumes, &username)?;
    let comment = format!("nsvm {}", request.name);
    let user_key = keys::generate(&comment).context("making the user key")?;
    let host_key = keys::generate(&comment).context("making the host key")?;
    write(&paths.identity(), user_key.private.as_bytes(), Access::Owner)?;
    write(&paths.identity_public(), format!("{}\n", user_key.public).as_bytes(), Access::Default)?;
    let uid = guest_uid(host::user_id());
    let guest = Guest {
        hostname: request.name.as_str(),
        username: &username,
        uid,
        authorized_key: &user_key.public,
        host_key: &host_key,
        time_zone: &inputs.time_zone,
        swap: request.provision.swap,
        authorities: &inputs.authorities,
    };
    let uuid = uuid::Uuid::new_v4().to_string();
    inputs.write(&paths, provisioning, &guest, &uuid)?;
    if let Some(playbook) = &inputs.playbook {
        write(&paths.playbook(), playbook, Access::Owner)?;
    }
    let common_boot = inputs.common_boot(provisioning);
    if common_boot.is_some() {
        // For a guest whose first boot was a template's.
        write(&paths.host_key(), host_key.private.as_bytes(), Access::Owner)?;
    }
    let history = History { created: Some(Timestamp::now()), ..History::default() };
    context.store.save_history(&request.name, &history)?;
    let pinned = provisioning.is_ours().then_some(host_key.public);
    let config = MachineConfig {
        version: VERSION,
        name: request.name.clone(),
        uuid,
        image: prepared.pin.clone(),
        resources: request.resources(),
        ssh: SshConfig {
            username,
            uid: uid.filter(|_| provisioning.is_ours()),
            port: ssh_port(&ports).context("reserving a port on 127.0.0.1")?,
            host_key: pinned,
        },
        rootful: request.rootful,
        provisioning,
        volumes,
        ports,
        protected: false,
        idle_suspend: if provisioning.is_ours() { request.idle_suspend } else { IdleTime::OFF },
        changes: Changes::default(),
        common_boot,
        unknown: serde_json::Map::new(),
    };
    if interrupted.load(Ordering::Relaxed) {
        return Err(Refusal::new("init was interrupted; nothing of the machine is left").into());
    }
    context.store.save(&config)?;
    Ok(config)
}

/// The user of the guest has the number of the host's, so that files of a
/// volume are theirs in both. Numbers below are for systems, and root is root.
fn guest_uid(host: Option<u32>) -> Option<u32> {
    /// macOS counts its users from 501, Linux from 1000; nobody is 65534.
    const PEOPLE: std::ops::Range<u32> = 501..60_000;
    host.filter(|uid| PEOPLE.contains(uid))
}

/// A free port that nothing shall be published on.
fn ssh_port(ports: &[Published]) -> std::io::Result<u16> {
    loop {
        let port = free_port(None)?;
        if ports.iter().all(|published| published.host != port) {
            return Ok(port);
        }
    }
}

fn write(path: &std::path::Path, bytes: &[u8], access: Access) -> Result<(), StoreError> {
    write_atomic(path, bytes, access).map_err(crate::store::io_error("writing", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_one_that_a_guest_can_make() {
        for good in [None, Some("core"), Some("_a-1")] {
            assert_eq!(check_username(good), Ok(()));
        }
        for bad in ["", "1a", "a b", "../a", "A", "a%", &"a".repeat(33)] {
            assert!(check_username(Some(bad)).is_err(), "{bad}");
        }
    }
}
