//! A run whose memory goes to a file, and who asked for that.

use tokio::sync::mpsc;

use super::{Driver, Happening};
use crate::control::message::Reply;
use crate::machine::suspended::Reason;
use crate::supervisor::idle_watch::IdleWatch;
use crate::supervisor::lifecycle::{Failure, Input, Wish};
use crate::supervisor::suspend::Save;

impl Driver {
    /// Notes who wants to know; the life cycle decides. What is used after all
    /// is not idle.
    pub(super) fn suspend_asked(
        &mut self,
        reason: Reason,
        waiter: mpsc::UnboundedSender<Reply>,
    ) -> Option<Input> {
        if reason == Reason::Idle && self.desk.uses.now() > 0 {
            let message = "somebody uses it by now".to_owned();
            let _ = waiter.send(Reply::Down { message, hint: None });
            return None;
        }
        self.suspending.push(waiter);
        self.reason = reason;
        Some(Input::Asked(Wish::Suspend))
    }

    /// Whether anything uses the machine is looked at from now on.
    pub(super) fn watch_idleness(&mut self) {
        if !self.config.provisioning.is_ours() {
            return;
        }
        let watch = IdleWatch {
            store: self.context.store.clone(),
            name: self.config.name.clone(),
            uses: self.desk.uses.clone(),
            link: self.desk.link.clone(),
            monitor: self.vm.monitor(),
            happenings: self.happenings.clone(),
            news: self.desk.news.clone(),
        };
        self.tasks.push(tokio::spawn(watch.keep()));
    }

    pub(super) fn save(&self) {
        self.desk.uses.close();
        let work = Save {
            context: self.context.clone(),
            name: self.config.name.clone(),
            reason: self.reason,
            volumes: self.config.volumes.clone(),
            link: self.desk.link.clone(),
            monitor: self.vm.monitor(),
            run: self.run.clone(),
        };
        let happenings = self.happenings.clone();
        // Not among the tasks that an end aborts: it is waited for.
        tokio::spawn(async move {
            let told = work.run().await.map_or_else(Input::SaveFailed, |()| Input::Saved);
            let _ = happenings.send(Happening::Life(told));
        });
    }

    pub(super) fn not_suspended(&self, why: &Failure) -> Reply {
        let message = format!("unable to suspend \"{}\": {}", self.config.name, why.message);
        Reply::failed(message, why.hint.clone())
    }
}
