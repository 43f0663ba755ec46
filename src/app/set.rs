//! Changing a stopped machine: checked as a whole, then written at once.

use super::sharing::{self, Sharing};
use super::{Context, Refusal, resources};
use crate::host;
use crate::image;
use crate::machine::config::{MachineConfig, Resources};
use crate::machine::event::Progress;
use crate::machine::idle::IdleTime;
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::machine::units::{GiB, MiB};
use crate::provision::time_zone;
use crate::store::History;

/// What shall change; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct SetRequest {
    pub cpus: Option<u32>,
    pub memory: Option<MiB>,
    /// Only larger.
    pub disk_size: Option<GiB>,
    pub rootful: Option<bool>,
    /// A name of the tz database, or `local`.
    pub time_zone: Option<String>,
    /// All of them from now on, where any is named; an empty text for none.
    pub sharing: Sharing,
    pub idle_suspend: Option<IdleTime>,
}

impl SetRequest {
    /// Neither the guest nor its memory knows of anything that changes.
    fn is_about_the_host(&self) -> bool {
        self.idle_suspend.is_some()
            && self.cpus.is_none()
            && self.memory.is_none()
            && self.disk_size.is_none()
            && self.rootful.is_none()
            && self.time_zone.is_none()
            && self.sharing.volumes.is_empty()
            && self.sharing.ports.is_empty()
    }
}

/// Changes the machine, or nothing of it.
pub fn set(
    context: &Context,
    name: &MachineName,
    request: &SetRequest,
    progress: &dyn Progress,
) -> anyhow::Result<MachineConfig> {
    let _lock = context.store.lock(name)?;
    let config = context.store.load(name)?;
    let refused = |doing: &str| format!("unable to change settings of \"{name}\": it is {doing}");
    match context.store.status(name) {
        Status::Stopped => {}
        _ if request.is_about_the_host() => {}
        // Its memory would no longer fit it.
        Status::Suspended => {
            return Err(Refusal::new(refused("suspended"))
                .hint(format!(
                    "Start and stop it, or give up what it was doing: \
                     `nsvm machine stop --force {name}`"
                ))
                .into());
        }
        _ => {
            return Err(Refusal::new(refused("running"))
                .hint(format!("Stop it with `nsvm machine stop {name}`"))
                .into());
        }
    }
    let changed = changed(&config, request)?;
    resources::check(&changed.resources, host::cpus(), host::memory_bytes())?;
    let size = changed.resources.disk_size;
    if size > config.resources.disk_size {
        resources::check_room(context, size, progress)?;
        // Before the config, which is what counts: a disk that is larger than
        // it says is grown again by the same command.
        image::grow(&context.store.paths(name).overlay(), size.bytes())?;
        // Of a first boot the guest makes what it finds.
        let history = context.store.history(name);
        let grown = history.last_up.is_some();
        context.store.save_history(name, &History { grown, ..history })?;
    }
    context.store.save(&changed)?;
    Ok(changed)
}

fn changed(config: &MachineConfig, request: &SetRequest) -> Result<MachineConfig, Refusal> {
    let mut changed = resized(config, request)?;
    if let Some(typed) = &request.time_zone {
        let zone =
            time_zone::resolve(typed).map_err(|e| Refusal::new(e.to_string()).hint(e.hint()))?;
        only_with_ours(config, "--timezone")?;
        changed.changes.time_zone = Some(zone);
    }
    if let Some(time) = request.idle_suspend {
        if !time.is_off() {
            only_with_ours(config, "--idle-suspend")?;
        }
        changed.idle_suspend = time;
    }
    if !request.sharing.volumes.is_empty() {
        changed.volumes = request.sharing.volumes()?;
        sharing::check_provisioning(&changed.volumes, !config.provisioning.is_ours())?;
        sharing::check_home(&changed.volumes, &config.ssh.username)?;
    }
    if !request.sharing.ports.is_empty() {
        changed.ports = request.sharing.ports()?;
    }
    Ok(changed)
}

/// What nobody in the guest would hear of is refused.
fn only_with_ours(config: &MachineConfig, option: &str) -> Result<(), Refusal> {
    if config.provisioning.is_ours() {
        return Ok(());
    }
    let text = format!("{option} needs something of nsvm in the guest of \"{}\"", config.name);
    Err(Refusal::new(text).hint("Make that change in the guest itself"))
}

fn resized(config: &MachineConfig, request: &SetRequest) -> Result<MachineConfig, Refusal> {
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
