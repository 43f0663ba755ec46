//! A machine out of one file. The file is a stranger's until its manifest
//! says otherwise: nothing of it gets a name before that.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, anyhow, bail};
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};

use super::manifest::{Entry, Manifest};
use super::{BASE, CONFIG, DATA, IGNITION, MANIFEST, data_name, staged};
use crate::app::init::check_username;
use crate::app::{Context, Refusal};
use crate::fs::create_dir_owner_only;
use crate::host;
use crate::image::{self, Cache, Choices, ImageError, Wanted};
use crate::machine::config::{ImagePin, MachineConfig};
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::paths::MachinePaths;
use crate::qemu::port::free_port;
use crate::store::{self, StoreError, io_error};

/// Config and manifest are small; more is no archive of ours.
const SMALL: u64 = 16 << 20;

/// Makes the machine in `file`, under its own name or another one. Where that
/// fails nothing of it is left, but for a base image that is good.
pub fn import(
    context: &Context,
    file: &Path,
    name: Option<&MachineName>,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> anyhow::Result<MachineName> {
    let data = &context.store.dirs().data;
    create_dir_owner_only(data).with_context(|| format!("creating \"{}\"", data.display()))?;
    // A name that no machine can have, on the file system of their disks.
    let stage = tempfile::Builder::new().prefix(".import-").tempdir_in(data)?;
    progress.step(format!("Reading \"{}\"", file.display()));
    let damaged = |reason: String| {
        Refusal::new(format!("\"{}\" cannot be imported: {reason}", file.display()))
            .hint("Export the machine again")
    };
    let opened = File::open(file).with_context(|| format!("reading \"{}\"", file.display()))?;
    let found = unpack(opened, stage.path()).map_err(|e| damaged(format!("{e:#}")))?;
    let manifest: Manifest = fs::read(stage.path().join(MANIFEST))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| damaged("it is no archive of a machine, or only a part of one".into()))?;
    if let Some(reason) = manifest.differs(&found) {
        return Err(damaged(reason).into());
    }
    let read = fs::read(stage.path().join(CONFIG)).context("reading its config")?;
    let config = store::parse_config(&stage.path().join(CONFIG), &read)?;
    check(&config).map_err(damaged)?;
    let name = name.unwrap_or(&config.name).clone();
    let _lock = context.store.lock(&name)?;
    if context.store.exists(&name) {
        return Err(StoreError::Exists(name).into());
    }
    let lock = context.store.paths(&name).lock();
    context.store.remove_files_except(&name, &lock)?;
    let base = stage.path().join(BASE);
    let made = ensure_base(context, &config.image, &base, progress, interrupted)
        .and_then(|()| make(context, config, &name, stage.path(), progress));
    if made.is_err() {
        context.store.remove_files_except(&name, &lock)?;
    }
    made.map(|()| name)
}

/// Files with the names that an archive has, and nothing else.
fn unpack(file: File, stage: &Path) -> anyhow::Result<Vec<Entry>> {
    let mut archive = Archive::new(zstd::Decoder::new(file)?);
    let mut found = Vec::new();
    for entry in archive.entries()? {
        let entry = entry?;
        let name = entry.path()?.to_str().map(str::to_owned).unwrap_or_default();
        let inner = name.strip_prefix(DATA).unwrap_or(&name);
        let known = [CONFIG, IGNITION, BASE, MANIFEST].contains(&name.as_str())
            || (name.starts_with(DATA) && is_plain(inner));
        if !known || entry.header().entry_type() != EntryType::Regular {
            bail!("\"{}\" in it was not written by nsvm", name.escape_debug());
        }
        if [CONFIG, MANIFEST].contains(&name.as_str()) && entry.size() > SMALL {
            bail!("\"{name}\" in it is too large");
        }
        let (size, sha256) = write(entry, &staged(stage, &name))?;
        if name != MANIFEST {
            found.push(Entry { name, size, sha256 });
        }
    }
    Ok(found)
}

/// A file name that means the same to every host.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

/// What of a stranger's config becomes a path of this host, or a line that its
/// programs read.
fn check(config: &MachineConfig) -> Result<(), String> {
    let digest = &config.image.sha256;
    let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    if digest.len() != 64 || !digest.chars().all(hex) {
        return Err(format!("\"{}\" is no SHA-256", digest.escape_debug()));
    }
    check_username(Some(&config.ssh.username)).map_err(|refusal| refusal.message)
}

fn write(mut from: impl Read, path: &Path) -> anyhow::Result<(u64, String)> {
    let mut file = File::create_new(path)?;
    host::restrict_to_owner(path)?;
    let (mut digest, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        digest.update(&buffer[..count]);
        file.write_all(&buffer[..count])?;
        size += count as u64;
    }
    file.sync_all()?;
    let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((size, sha256))
}

/// The base image is in the cache, or the archive's gets there by the way of
/// every image of this host, which looks into it.
fn ensure_base(
    context: &Context,
    pin: &ImagePin,
    file: &Path,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> anyhow::Result<()> {
    let cache = Cache::open(&context.store.dirs().cache)?;
    match cache.base(pin) {
        Err(ImageError::BaseMissing { .. }) => {}
        there => return Ok(there.map(drop)?),
    }
    let settings = Choices::default().settings();
    if file.metadata()?.len() == 0 {
        let wanted = Wanted { source: "/dev/null", sha256: None, arch: pin.arch };
        image::prepare(&cache, &wanted, &settings, progress, interrupted)?;
    } else {
        let source = file.to_str().ok_or_else(|| anyhow!("the data directory is not UTF-8"))?;
        let wanted = Wanted { source, sha256: Some(&pin.sha256), arch: pin.arch };
        image::prepare(&cache, &wanted, &settings, progress, interrupted)?;
    }
    Ok(cache.base(pin).map(drop)?)
}

fn make(
    context: &Context,
    config: MachineConfig,
    name: &MachineName,
    stage: &Path,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let store = &context.store;
    let paths = store.paths(name);
    let cache = Cache::open(&store.dirs().cache)?;
    let claim = cache.claim(&config.image, name.as_str(), &paths.overlay())?;
    let base = cache.base(&config.image)?;
    place(stage, &paths)?;
    rebase(&paths, stage, &base)?;
    if !config.volumes.is_empty() {
        progress.warn(format!(
            "volumes are not taken over from another host: name them with `nsvm machine set --volume SRC:DST {name}`"
        ));
    }
    let mut changes = config.changes.clone();
    changes.renamed |= config.name != *name;
    let mut history = store.history(name);
    history.ssh_port = None;
    store.save_history(name, &history)?;
    let mut ssh = config.ssh.clone();
    ssh.port = free_port(None).context("reserving a port on 127.0.0.1")?;
    store.save(&MachineConfig {
        name: name.clone(),
        volumes: Vec::new(),
        changes,
        ssh,
        // The one it was exported from may live on, here.
        uuid: uuid::Uuid::new_v4().to_string(),
        ..config
    })?;
    drop(claim);
    Ok(())
}

/// Brings the layers that the disk needs, and puts the last one on the base. A
/// stranger's must not lead anywhere else.
fn rebase(paths: &MachinePaths, stage: &Path, base: &Path) -> anyhow::Result<()> {
    let disk = paths.overlay();
    image::check_layer(&disk)?;
    let mut last = disk.clone();
    while let Some(layer) = image::next_layer(&last)? {
        if layer.exists() {
            bail!("the layers of its disk go in a circle");
        }
        put(&staged(stage, &data_name(&layer)), &layer)?;
        image::check_layer(&layer)?;
        last = layer;
    }
    image::chain(&disk)?;
    Ok(image::rebase(&last, base)?)
}

/// From the stage to where the machine has them. What else is in the archive,
/// as an older nsvm put it there, stays behind: programs of this host believe it.
fn place(stage: &Path, paths: &MachinePaths) -> anyhow::Result<()> {
    let dir = paths.data_dir();
    create_dir_owner_only(&dir).with_context(|| format!("creating \"{}\"", dir.display()))?;
    let beside = (stage.join(IGNITION), paths.ignition());
    let inside = paths.portable().map(|to| (staged(stage, &data_name(&to)), to));
    for (from, to) in inside.into_iter().chain([beside]).filter(|(from, _)| from.exists()) {
        let parent = to.parent().unwrap_or(&dir);
        fs::create_dir_all(parent).map_err(io_error("creating", parent))?;
        put(&from, &to)?;
    }
    Ok(())
}

/// The config's directory may lie on another file system.
fn put(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).or_else(|_| fs::copy(from, to).map(drop)).map_err(io_error("writing", to))
}
