//! Making a machine: check, get the image, write everything, commit.
//!
//! The config file is written last, and it is what makes a machine exist: a
//! crash before that leaves only litter that the next init of the name sweeps.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use jiff::Timestamp;

use super::provisioning::{Inputs, ProvisionRequest};
use super::{Context, Refusal};
use crate::fs::{Access, create_dir_owner_only, write_atomic};
use crate::host;
use crate::image::{self, Cache, Catalog, Choices, ImageError, Prepared, Wanted};
use crate::machine::config::{Arch, MachineConfig, Resources, SshConfig, VERSION};
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::units::{GiB, MiB, human_bytes};
use crate::provision::guest::Guest;
use crate::provision::keys;
use crate::qemu::port::free_port;
use crate::store::{History, StoreError};

/// Less than this no known image boots in.
const MIN_MEMORY: MiB = MiB(256);

/// qcow2 and ext4 both end here or soon after.
const MAX_DISK: GiB = GiB(16 * 1024);

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
    check_resources(request, host::cpus(), host::memory_bytes())?;
    check_username(request.username.as_deref())?;
    let inputs = Inputs::read(&request.provision)?;
    let _lock = context.store.lock(&request.name)?;
    if context.store.exists(&request.name) {
        return Err(StoreError::Exists(request.name.clone()).into());
    }
    let cache = Cache::open(&context.store.dirs().cache)?;
    let (prepared, claim) = claimed_image(context, &cache, request, progress, interrupted)?;
    check_disk(context, request.disk_size, &prepared, progress)?;
    sweep(context, &request.name)?;
    let made = make(context, request, &prepared, &inputs, interrupted);
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

fn check_resources(
    request: &InitRequest,
    host_cpus: u32,
    host_memory: Option<u64>,
) -> Result<(), Refusal> {
    if request.cpus == 0 || request.cpus > host_cpus {
        let text =
            format!("cannot give the machine {} CPUs: this host has {host_cpus}", request.cpus);
        return Err(Refusal::new(text).hint(format!("Use --cpus 1 to --cpus {host_cpus}")));
    }
    if request.memory < MIN_MEMORY {
        let text = format!("{} MiB of memory are too little for a guest", request.memory.0);
        return Err(Refusal::new(text).hint(format!("Use --memory {} or more", MIN_MEMORY.0)));
    }
    if let Some(total) = host_memory.filter(|total| request.memory.bytes() > *total) {
        let text = format!(
            "{} MiB of memory are more than this host has ({})",
            request.memory.0,
            human_bytes(total)
        );
        return Err(Refusal::new(text).hint(format!("Use --memory {} or less", total >> 20)));
    }
    if request.disk_size > MAX_DISK || request.disk_size.0 == 0 {
        let text = format!("a disk of {} GiB is not possible", request.disk_size.0);
        return Err(Refusal::new(text).hint(format!("Use --disk-size 1 to {}", MAX_DISK.0)));
    }
    if request.provision.swap.bytes() >= request.disk_size.bytes() {
        let text = format!(
            "{} MiB of swap do not fit on a disk of {} GiB",
            request.provision.swap.0, request.disk_size.0
        );
        return Err(Refusal::new(text).hint("Use a smaller --swap or a larger --disk-size"));
    }
    Ok(())
}

/// What useradd(8) accepts: it stands in paths and in sudo's files.
fn check_username(name: Option<&str>) -> Result<(), Refusal> {
    const MAX: usize = 32;
    let Some(name) = name else { return Ok(()) };
    let first = |c: char| c == '_' || c.is_ascii_lowercase();
    let rest = |c: char| first(c) || c == '-' || c.is_ascii_digit();
    if name.starts_with(first) && name.chars().all(rest) && name.len() <= MAX {
        return Ok(());
    }
    Err(Refusal::new(format!("\"{name}\" cannot be the name of a user"))
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

/// The overlay starts small and grows: only what can never fit is refused.
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
    let data = &context.store.dirs().data;
    fs::create_dir_all(data).with_context(|| format!("creating \"{}\"", data.display()))?;
    let Ok((free, total)) = host::disk_space(data) else { return Ok(()) };
    if size.bytes() > total {
        let text = format!(
            "a disk of {} GiB can never fit on the file system of \"{}\" ({})",
            size.0,
            data.display(),
            human_bytes(total)
        );
        return Err(Refusal::new(text).hint("Use a smaller --disk-size").into());
    }
    if size.bytes() > free {
        progress.warn(format!(
            "the disk may grow to {} GiB, but only {} are free now",
            size.0,
            human_bytes(free)
        ));
    }
    Ok(())
}

/// Writes everything of the machine, the config last.
fn make(
    context: &Context,
    request: &InitRequest,
    prepared: &Prepared,
    inputs: &Inputs,
    interrupted: &AtomicBool,
) -> anyhow::Result<MachineConfig> {
    let provisioning = inputs.decide(prepared.provisioner)?;
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
    let comment = format!("nsvm {}", request.name);
    let user_key = keys::generate(&comment).context("making the user key")?;
    let host_key = keys::generate(&comment).context("making the host key")?;
    write(&paths.identity(), user_key.private.as_bytes(), Access::Owner)?;
    write(&paths.identity_public(), format!("{}\n", user_key.public).as_bytes(), Access::Default)?;
    let guest = Guest {
        hostname: request.name.as_str(),
        username: &username,
        authorized_key: &user_key.public,
        host_key: &host_key,
        time_zone: &inputs.time_zone,
        swap: request.provision.swap,
        authorities: &inputs.authorities,
    };
    let uuid = uuid::Uuid::new_v4().to_string();
    inputs.write(&paths, provisioning, &guest, &uuid)?;
    let history = History { created: Some(Timestamp::now()), ..History::default() };
    context.store.save_history(&request.name, &history)?;
    let pinned = provisioning.is_ours().then_some(host_key.public);
    let config = MachineConfig {
        version: VERSION,
        name: request.name.clone(),
        uuid,
        image: prepared.pin.clone(),
        resources: Resources {
            cpus: request.cpus,
            disk_size: request.disk_size,
            memory: request.memory,
            swap: request.provision.swap,
        },
        ssh: SshConfig {
            username,
            port: free_port(None).context("reserving a port on 127.0.0.1")?,
            host_key: pinned,
        },
        rootful: request.rootful,
        provisioning,
        unknown: serde_json::Map::new(),
    };
    if interrupted.load(Ordering::Relaxed) {
        return Err(Refusal::new("init was interrupted; nothing of the machine is left").into());
    }
    context.store.save(&config)?;
    Ok(config)
}

fn write(path: &std::path::Path, bytes: &[u8], access: Access) -> Result<(), StoreError> {
    write_atomic(path, bytes, access).map_err(crate::store::io_error("writing", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cpus: u32, memory: u64, disk: u64) -> InitRequest {
        InitRequest {
            name: MachineName::default(),
            cpus,
            memory: MiB(memory),
            disk_size: GiB(disk),
            image: ImageRequest { sha256: None, arch: Arch::host(), choices: Choices::default() },
            provision: ProvisionRequest::default(),
            username: None,
            rootful: false,
        }
    }

    #[test]
    fn resources_within_the_host_are_accepted() {
        assert_eq!(check_resources(&request(2, 2048, 100), 2, Some(GiB(2).bytes())), Ok(()));
        assert_eq!(check_resources(&request(1, 256, 16384), 2, None), Ok(()));
    }

    #[test]
    fn swap_lies_on_the_disk() {
        let mut big = request(1, 256, 2);
        big.provision.swap = MiB(2048);
        let refused = check_resources(&big, 1, None).unwrap_err();
        assert!(refused.message.contains("2048 MiB of swap"), "{refused}");
    }

    #[test]
    fn a_user_is_one_that_a_guest_can_make() {
        for good in [None, Some("core"), Some("_a-1")] {
            assert_eq!(check_username(good), Ok(()));
        }
        for bad in ["", "1a", "a b", "../a", "A", "a%", &"a".repeat(33)] {
            assert!(check_username(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_refusal_names_the_number_and_the_limit() {
        for (bad, wanted) in [
            (request(3, 2048, 10), "3 CPUs: this host has 2"),
            (request(0, 2048, 10), "0 CPUs"),
            (request(1, 255, 10), "255 MiB"),
            (request(1, 4096, 10), "more than this host has (2.0 GiB)"),
            (request(1, 2048, 16385), "16385 GiB"),
            (request(1, 2048, 0), "0 GiB"),
        ] {
            let refused = check_resources(&bad, 2, Some(GiB(2).bytes())).unwrap_err();
            assert!(refused.message.contains(wanted), "{refused}");
            assert!(refused.hint.is_some(), "{refused}");
        }
    }
}
