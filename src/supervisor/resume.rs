//! Resuming: QEMU is started on the same hardware, loads the guest's memory and
//! stands still; the state is made unusable; only then does the guest run. A
//! state that does not fit is given up, and it is said why.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::spawn_blocking;

use super::bring_up::{BringUp, Dialling, PORT_ALONE, dial, failed};
use super::driver::Happening;
use super::launch::{self, Beginning, Launched, default_timeout};
use super::lifecycle::{Failure, QUIT_PATIENCE};
use super::readiness::{AGENT, Checks, MEMORY, QEMU};
use super::suspend::{remove, stored};
use super::vm::QMP_PATIENCE;
use super::wake::wake;
use crate::fs::is_locked;
use crate::host;
use crate::link::Link;
use crate::machine::event::Progress;
use crate::machine::suspended::Suspended;
use crate::qemu::facts::Facts;
use crate::qemu::migration::{self, MigrationError};
use crate::qemu::process::own_words;
use crate::qemu::qmp::Qmp;
use crate::store::Suspension;

/// How a resumption went.
pub enum Resumed {
    /// The guest runs; `None`: it will never have a link.
    Up(Option<Link>),
    /// There is nothing to resume, or not any more: boot.
    Not,
}

/// Why a memory was not loaded.
enum Unloaded {
    /// It never will be.
    Unusable(String),
    /// Another time, perhaps: the state stays.
    Failed(Failure),
}

impl BringUp {
    /// Resumes the guest if it is suspended and its state fits.
    pub(super) async fn resume(
        &self,
        facts: &Facts,
        target: Option<Dialling>,
    ) -> Result<Resumed, Failure> {
        let state = match self.context.store.suspension(&self.config.name) {
            Suspension::None => return Ok(Resumed::Not),
            Suspension::Damaged(why) => return self.give_up(&format!("it is damaged: {why}")),
            Suspension::Whole(state) => state,
        };
        if let Err(why) = self.check(&state, facts)? {
            return self.give_up(&why);
        }
        let launched = self.launch(facts, Beginning::resumed(&state.hardware))?;
        let Launched { ssh_port, translated, .. } = launched;
        let pid = launched.process.pid();
        self.tell(Happening::Spawned(Box::new(launched)));
        let paths = self.context.store.paths(&self.config.name);
        let table = if target.is_some() { &[QEMU, MEMORY, AGENT][..] } else { &[QEMU, MEMORY] };
        let timeout = self.timeout.unwrap_or(default_timeout(translated));
        let console = paths.serial_log();
        let mut checks = Checks::new(&self.feed, table, timeout, &console);
        let (monitor, events) = checks.next(self.connect(&paths.qmp_socket())).await?;
        let monitor = Arc::new(monitor);
        let mut unusable = None;
        let left = checks.left();
        let gone_on = checks
            .next(async {
                match self.load(&monitor, &state, left).await {
                    Ok(()) => self.let_run(&monitor).await,
                    Err(Unloaded::Failed(why)) => Err(why),
                    Err(Unloaded::Unusable(why)) => {
                        unusable = Some(why.clone());
                        Err(failed(why))
                    }
                }
            })
            .await;
        if let Some(why) = unusable {
            self.end(Some(monitor), pid).await?;
            return self.give_up(&why);
        }
        gone_on?;
        self.tell(Happening::Monitor(monitor, events));
        let Some(target) = target else { return Ok(Resumed::Up(None)) };
        let left = checks.left();
        let link = checks.next(dial(target.at(ssh_port), PORT_ALONE, left)).await?;
        if let Err(why) = wake(&link).await {
            self.warn(format!("the guest's clock and random numbers were not set: {why}"));
        }
        Ok(Resumed::Up(Some(link)))
    }

    /// Whether the state fits this host and this disk; the reason why not.
    fn check(&self, state: &Suspended, facts: &Facts) -> Result<Result<(), String>, Failure> {
        let ram = launch::loaded(&state.hardware);
        let hardware = launch::hardware(&self.context, &self.config, facts, ram)?;
        let disk = self.context.store.disk_generation(&self.config.name).map_err(|e| stored(&e))?;
        Ok(state.fits(&hardware, &disk))
    }

    /// The guest boots instead.
    fn give_up(&self, why: &str) -> Result<Resumed, Failure> {
        self.warn(format!("the suspended state cannot be used, the machine boots instead: {why}"));
        self.context.store.discard_suspension(&self.config.name).map_err(|e| stored(&e))?;
        Ok(Resumed::Not)
    }

    pub(super) fn warn(&self, text: String) {
        (&*self.feed as &dyn Progress).warn(text);
    }

    async fn load(
        &self,
        monitor: &Arc<Qmp>,
        state: &Suspended,
        patience: Duration,
    ) -> Result<(), Unloaded> {
        let paths = self.context.store.paths(&self.config.name);
        let (monitor, memory) = (monitor.clone(), state.memory);
        let (socket, log) = (paths.memory_socket(), paths.qemu_log());
        let loading = spawn_blocking(move || {
            let mut file = File::open(paths.memory())
                .map_err(|e| Unloaded::Unusable(format!("its memory cannot be read: {e}")))?;
            let loaded = migration::load(&monitor, &socket, &mut file, memory, patience);
            remove(&socket);
            loaded.map_err(|e| unloaded(&e, &own_words(&log)))
        });
        let crashed = |e| Unloaded::Failed(failed(format!("loading the guest's memory: {e}")));
        loading.await.map_err(crashed)?
    }

    /// From here on the state is history, whatever happens next.
    async fn let_run(&self, monitor: &Arc<Qmp>) -> Result<(), Failure> {
        let (store, name) = (self.context.store.clone(), self.config.name.clone());
        let monitor = monitor.clone();
        let running = spawn_blocking(move || {
            store.invalidate_suspension(&name).map_err(|e| stored(&e))?;
            store.count_run(&name).map_err(|e| stored(&e))?;
            // Not while it is still loading: QEMU takes that for a wish about
            // afterwards, and the guest was standing still when it was saved.
            monitor
                .execute("cont", Value::Null, QMP_PATIENCE)
                .map_err(|e| failed(e.to_string()))?;
            let status = monitor.query_status(QMP_PATIENCE).map_err(|e| failed(e.to_string()))?;
            if let Err(e) = store.clear_suspension(&name) {
                tracing::warn!("clearing away the suspended state: {e}");
            }
            if status == "running" {
                return Ok(());
            }
            Err(failed(format!("the guest does not go on, QEMU calls it \"{status}\"")))
        });
        running.await.map_err(|e| failed(format!("letting the guest run: {e}")))?
    }

    /// Ends a QEMU whose guest never ran, so that another one can take its place.
    pub(super) async fn end(&self, monitor: Option<Arc<Qmp>>, pid: u32) -> Result<(), Failure> {
        let lock = self.context.store.paths(&self.config.name).vm_lock();
        let uuid = self.config.uuid.clone();
        let ending = spawn_blocking(move || {
            // It may have ended by itself.
            let _ = monitor.map(|monitor| monitor.quit(QMP_PATIENCE));
            let end = Instant::now() + QUIT_PATIENCE;
            while is_locked(&lock).unwrap_or(true) {
                if Instant::now() >= end {
                    return host::kill_process_with_argument(pid, &uuid).map(drop);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        });
        let ended = ending.await.map_err(|e| failed(format!("ending QEMU: {e}")))?;
        ended.map_err(|e| failed(format!("ending QEMU: {e}")))
    }
}

/// QEMU ends when it cannot make sense of a memory, and says so. One that ends
/// without a word was killed, and the memory may be as good as ever.
fn unloaded(error: &MigrationError, words: &str) -> Unloaded {
    match error {
        MigrationError::Damaged(_) | MigrationError::Failed { .. } => {
            Unloaded::Unusable(error.to_string())
        }
        MigrationError::Qmp(_) | MigrationError::Socket { .. } if !words.is_empty() => {
            Unloaded::Unusable(format!("QEMU cannot load it ({words})"))
        }
        _ => Unloaded::Failed(Failure {
            message: error.to_string(),
            hint: Some("Try again: nothing is lost yet".into()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::qmp::QmpError;

    #[test]
    fn a_state_is_given_up_only_when_it_is_to_blame() {
        let closed = || QmpError::Closed { command: "query-status".into() };
        let damaged = MigrationError::Damaged("x".into());
        assert!(matches!(unloaded(&damaged, ""), Unloaded::Unusable(_)));
        let said = unloaded(&closed().into(), "load of migration failed");
        assert!(matches!(said, Unloaded::Unusable(why) if why.contains("load of migration")));
        assert!(matches!(unloaded(&closed().into(), ""), Unloaded::Failed(_)));
        let slow = MigrationError::Timeout(Duration::from_secs(1));
        assert!(matches!(unloaded(&slow, "warning: x"), Unloaded::Failed(_)));
    }
}
