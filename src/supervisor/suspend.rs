//! Suspending: the guest stands still, its memory goes to a file, and only when
//! all of it is safe does the file count.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::guest::hear;
use super::lifecycle::Failure;
use super::link_keeper::LinkWatch;
use super::vm::QMP_PATIENCE;
use super::volumes;
use crate::app::Context;
use crate::machine::name::MachineName;
use crate::machine::suspended::{Hardware, Reason, Suspended, VERSION};
use crate::machine::volume::Volume;
use crate::qemu::migration;
use crate::qemu::qmp::Qmp;
use crate::store::{RunRecord, StoreError};

/// For the memory of a large guest on a slow disk.
const SAVE_PATIENCE: Duration = Duration::from_secs(600);

/// A link that is just being dialled again.
const LINK_PATIENCE: Duration = Duration::from_secs(15);

/// A guest writes what it has in memory within this time, or goes without.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);

/// What it takes to save the guest.
pub struct Save {
    pub context: Context,
    pub name: MachineName,
    pub reason: Reason,
    pub volumes: Vec<Volume>,
    pub link: LinkWatch,
    pub monitor: Option<Arc<Qmp>>,
    pub run: RunRecord,
}

impl Save {
    /// Returns when the machine can be ended and resumed, or its guest runs on.
    pub async fn run(self) -> Result<(), Failure> {
        self.prepare()?;
        self.sync().await;
        if self.volumes.is_empty() {
            return self.save().await;
        }
        let link = self.link.clone().up_within(LINK_PATIENCE).await;
        let link = link.map_err(|_| Failure {
            message: "its volumes cannot be unmounted: there is no link to the guest".into(),
            hint: Some("Stop the machine instead: `nsvm machine stop`".into()),
        })?;
        volumes::release(&link, &self.volumes).await?;
        let saved = self.save().await;
        if saved.is_err() {
            volumes::mount(&link).await;
        }
        saved
    }

    /// Whoever takes the disk without the memory shall miss as little as can be.
    async fn sync(&self) {
        let Some(link) = self.link.now().filter(|_| self.reason == Reason::Brief) else { return };
        if let Err(why) = hear(&link, &["sync"], SYNC_PATIENCE).await {
            tracing::warn!("the guest has not written what it has in memory: {why}");
        }
    }

    /// QMP and files block: not on the supervisor's one thread.
    async fn save(self) -> Result<(), Failure> {
        let saving = tokio::task::spawn_blocking(move || {
            let (monitor, hardware) = self.prepare()?;
            monitor.execute("stop", Value::Null, QMP_PATIENCE).map_err(|e| failure(&e))?;
            self.write(monitor, hardware).or_else(|why| {
                self.go_on(monitor)?;
                Err(why)
            })
        });
        saving.await.map_err(|e| failure(&format!("saving the guest: {e}")))?
    }

    /// Everything that can be refused is refused while the guest runs.
    fn prepare(&self) -> Result<(&Qmp, &Hardware), Failure> {
        let monitor = self.monitor.as_deref().ok_or_else(|| Failure {
            message: "its QEMU cannot be asked".into(),
            hint: Some("Look at `nsvm machine logs --supervisor`".into()),
        })?;
        let hardware = self.run.hardware.as_ref().ok_or_else(|| Failure {
            message: "it was started by an older nsvm".into(),
            hint: Some(format!("Use `nsvm machine restart {}` once", self.name)),
        })?;
        possible(&hardware.accelerator)?;
        Ok((monitor, hardware))
    }

    fn write(&self, monitor: &Qmp, hardware: &Hardware) -> Result<(), Failure> {
        let store = &self.context.store;
        let paths = store.paths(&self.name);
        let mut file = store.begin_suspension(&self.name).map_err(|e| stored(&e))?;
        let socket = paths.memory_socket();
        let saved = migration::save(monitor, &socket, &mut file, SAVE_PATIENCE);
        remove(&socket);
        let memory = saved.map_err(|e| failure(&e))?;
        // QEMU has let go of the disk when it has completed, so that this is
        // the state that the memory belongs to.
        let disk = store.disk_generation(&self.name).map_err(|e| stored(&e))?;
        let header = Suspended {
            version: VERSION,
            at: Timestamp::now(),
            boot_id: self.run.agent.as_ref().map(|agent| agent.boot_id.clone()),
            reason: self.reason,
            hardware: hardware.clone(),
            disk,
            next_disk: None,
            memory,
        };
        store.commit_suspension(&self.name, &file, &header).map_err(|e| stored(&e))
    }

    /// Nothing may be left that could be resumed once the guest runs again.
    fn go_on(&self, monitor: &Qmp) -> Result<(), Failure> {
        self.context.store.discard_suspension(&self.name).map_err(|e| stored(&e))?;
        monitor.execute("cont", Value::Null, QMP_PATIENCE).map_err(|e| failure(&e))?;
        Ok(())
    }
}

/// Which accelerators can tell all of a CPU's state.
fn possible(accelerator: &str) -> Result<(), Failure> {
    if accelerator != "whpx" {
        return Ok(());
    }
    Err(Failure {
        message: "QEMU cannot save a guest that runs under whpx".into(),
        hint: Some("Stop it instead: `nsvm machine stop`".into()),
    })
}

pub(super) fn remove(socket: &Path) {
    if let Err(e) = std::fs::remove_file(socket) {
        tracing::debug!("removing \"{}\": {e}", socket.display());
    }
}

fn failure(error: &impl std::fmt::Display) -> Failure {
    Failure { message: error.to_string(), hint: None }
}

pub(super) fn stored(error: &StoreError) -> Failure {
    Failure { message: error.to_string(), hint: error.hint() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accelerator_that_cannot_is_named() {
        let refused = possible("whpx").unwrap_err();
        assert!(refused.message.contains("whpx") && refused.hint.is_some());
        for able in ["kvm", "hvf", "tcg"] {
            assert_eq!(possible(able), Ok(()));
        }
    }
}
