//! The run's link, and what comes over it of the guest.

use std::sync::Arc;

use super::{Driver, Happening};
use crate::host;
use crate::link::Link;
use crate::machine::config::Provisioning;
use crate::store::AgentRecord;
use crate::supervisor::clock::Reading;
use crate::supervisor::lifecycle::Input;
use crate::supervisor::link_keeper::{self, LinkState};
use crate::supervisor::{bring_up, trim, volumes};

/// A drift of the guest's clock that differs by so many milliseconds from the
/// one on record is worth another record.
const DRIFT_TOLD: u64 = 20;

impl Driver {
    /// Watches over the link for the rest of the run.
    pub(super) fn keep_link(&mut self, link: Option<Box<Link>>) {
        let dialling = match bring_up::target(&self.context, &self.config) {
            Ok(Some(found)) => found.at(self.run.ssh_port),
            Ok(None) => return self.slot.set(not_ours(self.config.provisioning)),
            Err(why) => {
                let hint = why.hint.unwrap_or_default();
                return self.slot.set(LinkState::Never { message: why.message, hint });
            }
        };
        let happenings = self.happenings.clone();
        // Its supervisor may have died just when they were unmounted.
        let mounts = self.adopting && !self.config.volumes.is_empty();
        let dialled = move |link: &Arc<Link>| {
            let hello = link.hello();
            if mounts {
                let link = link.clone();
                tokio::spawn(async move { volumes::mount(&link).await });
            }
            let _ = happenings.send(Happening::Agent(AgentRecord {
                version: hello.version.clone(),
                sha256: hello.sha256.clone(),
                boot_id: hello.boot_id.clone(),
            }));
        };
        let link = link.map(|link| Arc::new(*link));
        let happenings = self.happenings.clone();
        let clock_read = move |reading| drop(happenings.send(Happening::Clock(reading)));
        let (slot, pulse) = (self.slot.clone(), self.pulse.clone());
        let keeping = link_keeper::keep(slot, link, dialling, pulse, dialled, clock_read);
        self.tasks.push(tokio::spawn(keeping));
    }

    /// The record is written anew for what somebody may want to know. Clocks are read
    /// every few seconds: time to tidy up, too, if nobody waits.
    pub(super) fn note_clock(&mut self, reading: Reading) {
        if self.desk.uses.now() == 0 {
            host::return_free_memory();
        }
        let known = self.run.clock_drift_ms;
        let told = known.is_some_and(|known| known.abs_diff(reading.drift_ms) < DRIFT_TOLD);
        if told && !reading.stepped && !self.unwritten {
            return;
        }
        self.run.clock_drift_ms = Some(reading.drift_ms);
        self.record();
    }

    /// Has the guest trim its disk, where there is a link to ask it by.
    pub(super) fn trim(&mut self) {
        let (link, happenings) = (self.desk.link.now(), self.happenings.clone());
        self.tasks.push(tokio::spawn(async move {
            if let Some(link) = link {
                trim::trim(&link).await;
            }
            let _ = happenings.send(Happening::Life(Input::Trimmed));
        }));
    }
}

/// What is in the guest is the user's own affair.
fn not_ours(provisioning: Provisioning) -> LinkState {
    let option = provisioning.kept_out_by().unwrap_or_default();
    let another = match provisioning {
        Provisioning::Own => "with --ignition-merge, which adds your file to nsvm's".to_owned(),
        _ => format!("without {option}"),
    };
    LinkState::Never {
        message: format!("this machine was made with {option}: nothing of nsvm is in the guest"),
        hint: format!("Use the guest's own SSH, or make a machine {another}"),
    }
}
