//! The end of a run: what is cleared away, and what the last clients are told.

use std::time::Duration;

use super::{Driver, tell};
use crate::control::message::Reply;
use crate::machine::event::RunState;
use crate::supervisor::launch::restore_disk;
use crate::supervisor::lifecycle::{Ending, Failure};
use crate::supervisor::link_keeper::LinkState;

/// Clients get this long to take their last reply, the first one as long to
/// come at all.
const FAREWELL: Duration = Duration::from_secs(1);

/// Whoever takes over is told within this time; QEMU's monitor talks to it only
/// when this process is gone.
const SHORT_FAREWELL: Duration = Duration::from_millis(100);

impl Driver {
    /// Leaves nothing of this run behind, but never touches what belongs to a
    /// VM that still lives; says whether it is gone.
    pub(super) async fn finish(&mut self, ending: &Ending) -> bool {
        if *ending != Ending::HandedOver {
            self.slot.set(LinkState::Down("the machine has stopped".into()));
        }
        let paths = self.context.store.paths(&self.config.name);
        if !self.vm.has_gone().await {
            return false;
        }
        match ending {
            Ending::Stopped | Ending::Suspended | Ending::HandedOver => self.touch_history(),
            Ending::StartFailed(_) => self.restore_first_disk().await,
        }
        if let Err(e) = std::fs::remove_dir_all(paths.runtime_dir()) {
            tracing::warn!("removing \"{}\": {e}", paths.runtime_dir().display());
        }
        true
    }

    /// A first boot that did not get through may have provisioned half of the
    /// guest: the next start shall find the disk as init made it.
    async fn restore_first_disk(&self) {
        let was_up = self.context.store.history(&self.config.name).last_up.is_some();
        // Nor is a copy's disk what init made.
        if was_up || self.adopting || self.config.changes.copied.is_some() {
            return;
        }
        let (context, config) = (self.context.clone(), self.config.clone());
        let restoring = tokio::task::spawn_blocking(move || restore_disk(&context, &config));
        match restoring.await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::warn!("restoring the first disk: {}", why.message),
            Err(e) => tracing::warn!("restoring the first disk: {e}"),
        }
    }

    /// Whoever started this supervisor is on the way to ask how it goes, also
    /// when it went wrong at once.
    pub(super) async fn await_first_client(&self) {
        let mut met = self.desk.met.subscribe();
        let _ = tokio::time::timeout(FAREWELL, met.wait_for(|met| *met)).await;
    }

    /// Commands that run are not told anything: they find the next supervisor.
    async fn make_room(&mut self) {
        tell(&mut self.successors, &Reply::Done);
        self.desk.sessions.close();
        let _ = tokio::time::timeout(SHORT_FAREWELL, self.desk.sessions.wait()).await;
    }

    pub(super) async fn say_goodbye(&mut self, ending: &Ending, vm_is_gone: bool) {
        if *ending == Ending::HandedOver {
            return self.make_room().await;
        }
        let start = match ending {
            Ending::Stopped | Ending::Suspended | Ending::HandedOver => Reply::Done,
            Ending::StartFailed(why) => self.failed_start(why),
        };
        let suspend = match ending {
            Ending::Suspended => Reply::Done,
            _ => self.not_suspended(&Failure { message: "it was stopped".into(), hint: None }),
        };
        tell(&mut self.suspending, &suspend);
        tell(&mut self.successors, &Reply::failed("the machine has stopped", None));
        let stop = match ending {
            Ending::StartFailed(why) if !vm_is_gone => {
                let message = format!("its VM runs, but cannot be controlled: {}", why.message);
                Reply::failed(message, why.hint.clone())
            }
            _ => Reply::Done,
        };
        self.desk.start.end(start);
        self.desk.stop.end(stop);
        self.desk.news.reached(RunState::Stopped);
        self.desk.sessions.close();
        let _ = tokio::time::timeout(FAREWELL, self.desk.sessions.wait()).await;
    }

    fn failed_start(&self, why: &Failure) -> Reply {
        let message = format!("unable to start \"{}\": {}", self.config.name, why.message);
        Reply::failed(message, why.hint.clone())
    }
}
