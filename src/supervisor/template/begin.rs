//! A machine's first start as a copy of a template. Until the guest knows whose it
//! is, nobody can enter it; a copy that fails is undone, and the machine boots.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use super::shape;
use crate::app::Context;
use crate::fs::{Access, remove_if_there, write_atomic};
use crate::host;
use crate::image::{Cache, TemplateFiles, chain};
use crate::link::Link;
use crate::machine::config::MachineConfig;
use crate::machine::name::MachineName;
use crate::machine::paths::MachinePaths;
use crate::machine::template::{Template, boots_because};
use crate::protocol::frozen::Owner;
use crate::qemu::command::{Entry, Ram};
use crate::qemu::facts::Facts;
use crate::qemu::migration::{self, MigrationError};
use crate::qemu::qmp::Qmp;
use crate::qemu::ready;
use crate::qemu::version::Version;
use crate::supervisor::bring_up::{
    BringUp, Dialling, PORT_ALONE, dial, failed, ssh_address, sshd_answers,
};
use crate::supervisor::driver::Happening;
use crate::supervisor::launch::{Beginning, restore_disk};
use crate::supervisor::lifecycle::Failure;
use crate::supervisor::readiness::{AGENT, Checks, QEMU, TEMPLATE};
use crate::supervisor::suspend::remove;
use crate::supervisor::vm::QMP_PATIENCE;

/// A copy is up in a second or two, or the machine boots: translated, on a busy
/// host, it may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A copy's sshd begins anew within this time.
const SSHD_PATIENCE: Duration = Duration::from_secs(60);

/// Before this one QEMU cannot map a file copy-on-write that it has opened for
/// reading alone.
const READS_ALONE: Version = Version::new(8, 2, 0);

/// How a first start went.
pub enum Begun {
    Up(Box<Link>),
    /// The machine boots, and whether a template shall be made of its like.
    Not(Made),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    Wanted,
    NotWanted,
}

/// Why a copy is not up.
pub(super) enum Broken {
    /// The template is to blame: nobody shall try it again.
    Useless(Failure),
    Failed(Failure),
}

impl From<Failure> for Broken {
    fn from(why: Failure) -> Self {
        Self::Failed(why)
    }
}

impl BringUp {
    /// Begins on the template of the machine's shape, where it may and there is
    /// one.
    pub async fn begin_on_template(
        &self,
        facts: &Facts,
        target: Option<&Dialling>,
    ) -> Result<Begun, Failure> {
        let first = self.context.store.history(&self.config.name).last_up.is_none();
        let (true, Some(target)) = (first, target) else { return Ok(Begun::Not(Made::NotWanted)) };
        let reason = if self.context.machine.templates {
            let layered = self.is_layered().then_some("its disk has snapshots");
            boots_because(&self.config).or_else(|| shape::impossible_here(facts)).or(layered)
        } else {
            Some("templates are switched off")
        };
        if let Some(reason) = reason {
            tracing::info!(reason, "the machine boots");
            return Ok(Begun::Not(Made::NotWanted));
        }
        let shape = shape::of(&self.context, &self.config, facts, target.agent.sha256())?;
        let digest = shape.digest();
        let cache = self.cache()?;
        let (template, files) = match cache.template(&digest) {
            Ok(found) => found,
            Err(None) => return Ok(Begun::Not(Made::Wanted)),
            Err(Some(reason)) => {
                tracing::info!(reason, digest, "the template cannot be used, the machine boots");
                return Ok(Begun::Not(Made::NotWanted));
            }
        };
        tracing::info!(digest, "the machine begins as a copy of a template");
        let patience = self.timeout.map_or(PATIENCE, |timeout| timeout.min(PATIENCE));
        let begun = self.begin_on((&template, &files), facts, target.clone(), patience).await;
        let why = match begun {
            Ok(link) => return Ok(Begun::Up(Box::new(link))),
            Err(Broken::Failed(why)) => why,
            Err(Broken::Useless(why)) => {
                if let Err(e) = cache.refuse_template(&digest, &why.message) {
                    tracing::warn!("refusing the template: {e}");
                }
                why
            }
        };
        self.warn(format!(
            "the template cannot be used, the machine boots instead: {}",
            why.message
        ));
        self.undo().await?;
        Ok(Begun::Not(Made::NotWanted))
    }

    /// The same on a certain one. What it leaves when it fails is undone by the
    /// caller; its QEMU has ended.
    pub(super) async fn begin_on(
        &self,
        (template, files): (&Template, &TemplateFiles),
        facts: &Facts,
        target: Dialling,
        patience: Duration,
    ) -> Result<Link, Broken> {
        let synced = self.copy_disk(files).await?;
        let read_only = facts.qemu.features.version >= READS_ALONE;
        let ram = Ram::Copied { file: files.memory(), read_only };
        let begin = Beginning { entry: Entry::Memory, ram, life: self.life };
        let launched = self.launch(facts, begin)?;
        let (pid, port) = (launched.process.pid(), launched.ssh_port);
        self.tell(Happening::Spawned(Box::new(launched)));
        let paths = self.context.store.paths(&self.config.name);
        let console = paths.serial_log();
        let table = [QEMU, TEMPLATE, AGENT];
        let mut checks = Checks::new(&self.feed, &table, patience, &console);
        let connected = checks.next(self.connect(&paths.qmp_socket())).await;
        let (monitor, events) = match connected {
            Ok(connected) => connected,
            Err(why) => {
                self.end(None, pid).await?;
                return Err(why.into());
            }
        };
        let monitor = Arc::new(monitor);
        let mut useless = None;
        let left = checks.left();
        let up = async {
            checks
                .next(async {
                    let given = self.become_own(&monitor, template, files, left).await;
                    given.map_err(|broken| match broken {
                        Broken::Failed(why) => why,
                        Broken::Useless(why) => {
                            useless = Some(why.clone());
                            why
                        }
                    })
                })
                .await?;
            let left = checks.left();
            let link = checks.next(dial(target.at(port), PORT_ALONE, left)).await?;
            synced
                .await
                .map_err(|e| failed(format!("copying the disk: {e}")))?
                .map_err(|e| copying(&e))?;
            self.settle()?;
            // Not before it is sure to stay: one that boots instead says so by itself.
            let sshd = sshd_answers(paths.ready_socket(), ssh_address(port), SSHD_PATIENCE);
            drop(self.hear_of(sshd, SSHD_PATIENCE));
            Ok::<_, Failure>(link)
        }
        .await;
        match up {
            Ok(link) => {
                self.tell(Happening::Monitor(monitor, events));
                Ok(link)
            }
            Err(why) => {
                self.end(Some(monitor), pid).await?;
                Err(useless.map_or(Broken::Failed(why), Broken::Useless))
            }
        }
    }

    /// Loads what the memory does not hold, lets the guest run, and tells it
    /// whose it is.
    async fn become_own(
        &self,
        monitor: &Arc<Qmp>,
        template: &Template,
        files: &TemplateFiles,
        patience: Duration,
    ) -> Result<(), Broken> {
        let paths = self.context.store.paths(&self.config.name);
        let owner = owner(&paths, &self.config)?;
        let (monitor, devices, state) = (monitor.clone(), files.devices(), template.devices);
        let given = spawn_blocking(move || {
            let mut devices = File::open(devices)
                .map_err(|e| useless(&format!("its state cannot be read: {e}")))?;
            let socket = paths.memory_socket();
            let loaded = migration::leave_memory_out(&monitor)
                .and_then(|()| migration::load(&monitor, &socket, &mut devices, state, patience))
                .and_then(|()| migration::take_memory_along(&monitor));
            remove(&socket);
            loaded.map_err(|e| match e {
                MigrationError::Timeout(_) => Broken::Failed(failed(e.to_string())),
                _ => useless(&e),
            })?;
            let cont = monitor.execute("cont", Value::Null, QMP_PATIENCE);
            cont.map_err(|e| Broken::Failed(failed(e.to_string())))?;
            // The time is that of the moment before it is sent.
            let owner = Owner { now: now(), ..owner };
            ready::give(&paths.ready_socket(), &owner, patience).map_err(|e| match e.kind() {
                io::ErrorKind::InvalidData => useless(&format!("the guest says: {e}")),
                _ => Broken::Failed(failed(format!("telling the guest whose it is: {e}"))),
            })
        });
        given.await.map_err(|e| failed(format!("beginning on the template: {e}")))?
    }

    /// Puts a copy of the template's disk in the place of the machine's, which
    /// nothing was written to; the copy shares blocks where the file system can.
    /// It is safe on the disk when the task has ended.
    async fn copy_disk(
        &self,
        files: &TemplateFiles,
    ) -> Result<JoinHandle<io::Result<()>>, Failure> {
        let paths = self.context.store.paths(&self.config.name);
        let (from, beginning) = (files.disk(), paths.beginning());
        let overlay = paths.overlay();
        let copied = spawn_blocking(move || {
            write_atomic(&beginning, b"", Access::Owner)?;
            let new = overlay.with_extension("new");
            let _ = fs::remove_file(&new);
            fs::copy(&from, &new)?;
            host::restrict_to_owner(&new)?;
            let file = File::options().write(true).open(&new)?;
            fs::rename(&new, &overlay)?;
            Ok(file)
        });
        let copied = copied.await.map_err(|e| failed(format!("copying the disk: {e}")))?;
        let file = copied.map_err(|e| copying(&e))?;
        Ok(spawn_blocking(move || file.sync_all()))
    }

    /// Whether its disk lies on others than the base; in doubt it does.
    fn is_layered(&self) -> bool {
        let overlay = self.context.store.paths(&self.config.name).overlay();
        !chain(&overlay).is_ok_and(|layers| layers.is_empty())
    }

    /// The guest is this machine's from now on, whatever happens next.
    fn settle(&self) -> Result<(), Failure> {
        let beginning = self.context.store.paths(&self.config.name).beginning();
        remove_if_there(&beginning).map_err(|e| failed(format!("settling the machine: {e}")))
    }

    /// The disk is as init made it again.
    async fn undo(&self) -> Result<(), Failure> {
        let (context, config) = (self.context.clone(), self.config.clone());
        let undone = spawn_blocking(move || undo(&context, &config));
        undone.await.map_err(|e| failed(format!("restoring the disk: {e}")))?
    }

    fn cache(&self) -> Result<Cache, Failure> {
        Cache::open(&self.context.store.dirs().cache)
            .map_err(|e| Failure { message: e.to_string(), hint: e.hint() })
    }
}

/// What an earlier supervisor began and did not get through with is no machine.
/// Its QEMU has ended.
pub fn undo_half_begun(context: &Context, name: &MachineName) -> anyhow::Result<()> {
    if !context.store.paths(name).beginning().exists() {
        return Ok(());
    }
    let config = context.store.load(name)?;
    // What is done with disks runs a runtime of its own, which none may be around.
    let undone = std::thread::scope(|scope| scope.spawn(|| undo(context, &config)).join());
    let undone = undone.map_err(|_| anyhow::anyhow!("restoring the disk broke off"))?;
    undone.map_err(|why| anyhow::anyhow!(why.message))
}

/// The disk is as init made it again, and nothing tells of a template.
fn undo(context: &Context, config: &MachineConfig) -> Result<(), Failure> {
    restore_disk(context, config)?;
    let beginning = context.store.paths(&config.name).beginning();
    remove_if_there(&beginning).map_err(|e| failed(format!("restoring the disk: {e}")))
}

/// Whose the copy is.
fn owner(paths: &MachinePaths, config: &MachineConfig) -> Result<Owner, Failure> {
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|e| failed(format!("reading \"{}\": {e}", path.display())))
    };
    let zone = config.common_boot.as_ref().map(|boot| boot.time_zone.clone());
    Ok(Owner {
        now: now(),
        seed: (0..4).flat_map(|_| Uuid::new_v4().into_bytes()).collect(),
        host_name: config.name.to_string(),
        machine_id: Uuid::new_v4().simple().to_string(),
        time_zone: zone.unwrap_or_default(),
        host_key: read(&paths.host_key())?,
        host_key_public: config.ssh.host_key.clone().unwrap_or_default(),
        user_key: read(&paths.identity_public())?.trim_end().to_owned(),
    })
}

/// Nanoseconds since 1970: 64 bits last until the year 2262.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn copying(error: &io::Error) -> Failure {
    failed(format!("copying the template's disk: {error}"))
}

fn useless(why: &impl std::fmt::Display) -> Broken {
    Broken::Useless(failed(why.to_string()))
}
