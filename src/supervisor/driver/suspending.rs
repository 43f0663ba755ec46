//! A run whose memory goes to a file, and who asked for that.

use super::{Driver, Happening};
use crate::control::message::Reply;
use crate::supervisor::lifecycle::{Failure, Input};
use crate::supervisor::suspend::Save;

impl Driver {
    pub(super) fn save(&self) {
        let work = Save {
            context: self.context.clone(),
            name: self.config.name.clone(),
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
