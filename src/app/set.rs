//! Changing a stopped machine: checked as a whole, then written at once.

use super::{Context, Refusal, resources};
use crate::host;
use crate::image;
use crate::machine::config::{MachineConfig, Resources};
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::machine::units::{GiB, MiB};

/// What shall change; `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct SetRequest {
    pub cpus: Option<u32>,
    pub memory: Option<MiB>,
    /// Only larger.
    pub disk_size: Option<GiB>,
    pub rootful: Option<bool>,
}

/// Changes the machine, or nothing of it.
pub fn set(
    context: &Context,
    name: &MachineName,
    request: SetRequest,
    progress: &dyn Progress,
) -> anyhow::Result<MachineConfig> {
    let _lock = context.store.lock(name)?;
    let config = context.store.load(name)?;
    if context.store.status(name) != Status::Stopped {
        return Err(Refusal::new(format!(
            "unable to change settings of \"{name}\": it is running"
        ))
        .hint(format!("Stop it with `nsvm machine stop {name}`"))
        .into());
    }
    let changed = changed(&config, request)?;
    resources::check(&changed.resources, host::cpus(), host::memory_bytes())?;
    let size = changed.resources.disk_size;
    if size > config.resources.disk_size {
        resources::check_room(context, size, progress)?;
        // Before the config, which is what counts: a disk that is larger than
        // it says is grown again by the same command.
        image::grow(&context.store.paths(name).overlay(), size.bytes())?;
    }
    context.store.save(&changed)?;
    Ok(changed)
}

fn changed(config: &MachineConfig, request: SetRequest) -> Result<MachineConfig, Refusal> {
    let now = config.resources;
    if let Some(size) = request.disk_size.filter(|size| *size < now.disk_size) {
        let text = format!(
            "a disk of {} GiB cannot become one of {}: a disk only grows",
            now.disk_size.0, size.0
        );
        return Err(Refusal::new(text).hint(format!("Use --disk-size {} or more", now.disk_size.0)));
    }
    Ok(MachineConfig {
        resources: Resources {
            cpus: request.cpus.unwrap_or(now.cpus),
            memory: request.memory.unwrap_or(now.memory),
            disk_size: request.disk_size.unwrap_or(now.disk_size),
            ..now
        },
        rootful: request.rootful.unwrap_or(config.rootful),
        ..config.clone()
    })
}
