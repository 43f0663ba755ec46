//! Looks whether anything uses the machine, and asks for it to be suspended
//! when nothing has for as long as its owner wants (`supervisor::idle`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::driver::Happening;
use super::guest::hear;
use super::idle::{Idleness, Look, Verdict};
use super::link_keeper::LinkWatch;
use super::news::News;
use super::uses::Uses;
use super::vm::QMP_PATIENCE;
use crate::control::message::Reply;
use crate::machine::event::Event;
use crate::machine::name::MachineName;
use crate::machine::suspended::Reason;
use crate::qemu::qmp::Qmp;
use crate::qemu::usernet;
use crate::store::Store;

/// How often the machine's config is read while it is not to be suspended.
const OFF: Duration = Duration::from_secs(10);

/// A look costs a translated guest some 30 ms: as a share of the time between
/// two it must stay below what counts as use.
const SOONEST: Duration = Duration::from_secs(2);
const LATEST: Duration = Duration::from_secs(30);

/// A guest on the busiest host answers within this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// What there is to look at.
pub struct IdleWatch {
    pub store: Store,
    pub name: MachineName,
    pub uses: Uses,
    pub link: LinkWatch,
    pub monitor: Option<Arc<Qmp>>,
    pub happenings: mpsc::UnboundedSender<Happening>,
    pub news: News,
}

impl IdleWatch {
    /// Watches until the machine has been suspended or the task is aborted. The
    /// config is read each time: it may change while the machine runs.
    pub async fn keep(self) {
        let begun = Instant::now();
        let mut idleness = Idleness::default();
        let mut told = String::new();
        loop {
            let after =
                self.store.load(&self.name).ok().and_then(|config| config.idle_suspend.get());
            tokio::time::sleep(after.map_or(OFF, pause)).await;
            let Some(after) = after else {
                idleness = Idleness::default();
                continue;
            };
            let look = self.look(begun).await;
            if idleness.look(look, after) != Verdict::Suspend {
                continue;
            }
            tracing::info!(?after, "nothing uses the machine: suspending it");
            match self.suspend().await {
                Some(Reply::Failed { message, .. }) => {
                    idleness.refused(begun.elapsed(), after);
                    self.warn(message, &mut told);
                }
                // The next look will show it.
                Some(Reply::Down { .. }) => {}
                // Done, or this supervisor is ending.
                _ => return,
            }
        }
    }

    async fn look(&self, begun: Instant) -> Look {
        let (users, link) = (self.uses.now(), self.link.now());
        let connections = match users {
            0 => self.connections(link.is_some()).await,
            _ => None,
        };
        let cpu = match (link, connections) {
            (Some(link), Some(0)) => hear(&link, &["head", "-n1", "/proc/stat"], PATIENCE).await,
            _ => Err("nobody asked".to_owned()),
        };
        let cpu = cpu.ok().and_then(|said| cpu_time(&String::from_utf8_lossy(&said)));
        // Whoever came meanwhile counts.
        let (users, uses) = (self.uses.now().max(users), self.uses.so_far());
        Look { at: begun.elapsed(), users, uses, connections, cpu }
    }

    /// Those that are not the link's own.
    async fn connections(&self, linked: bool) -> Option<usize> {
        let monitor = self.monitor.clone()?;
        let asking = spawn_blocking(move || usernet::forwarded(&monitor, QMP_PATIENCE));
        match asking.await.ok()? {
            Ok(all) => Some(all.saturating_sub(usize::from(linked))),
            Err(e) => {
                tracing::info!("asking QEMU for its connections: {e}");
                None
            }
        }
    }

    async fn suspend(&self) -> Option<Reply> {
        let (waiter, mut replies) = mpsc::unbounded_channel();
        let asked = Happening::SuspendAsked { reason: Reason::Idle, waiter };
        self.happenings.send(asked).ok()?;
        replies.recv().await
    }

    /// Said once, not each time that it is tried again.
    fn warn(&self, why: String, told: &mut String) {
        if *told == why {
            return tracing::debug!(why, "not suspended");
        }
        tracing::warn!(why, "it does nothing, but is not suspended");
        let text = format!("it does nothing, but is not suspended: {why}");
        self.news.tell(Event::Warning { text });
        *told = why;
    }
}

fn pause(after: Duration) -> Duration {
    (after / 2).clamp(SOONEST, LATEST)
}

/// What a guest has done, all its processors together: the first line of
/// `/proc/stat` (`proc_stat(5)`), in 1/100 s on the architectures we have. All
/// but the fourth and fifth number, in which it waited; guests of its own are
/// counted in the first two already.
fn cpu_time(line: &str) -> Option<Duration> {
    let mut words = line.split_whitespace();
    if words.next() != Some("cpu") {
        return None;
    }
    let ticks: Vec<u64> = words.take(8).map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let used = ticks.iter().enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
    let used = used.fold(0_u64, |sum, (_, ticks)| sum.saturating_add(*ticks));
    (ticks.len() >= 4).then(|| Duration::from_millis(used.saturating_mul(10)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_what_was_not_waited() {
        let line = "cpu  10 20 30 4000 5000 1 2 3 7 8\n";
        assert_eq!(cpu_time(line), Some(Duration::from_millis(660)));
        assert_eq!(cpu_time("cpu 1 2 3 4"), Some(Duration::from_millis(60)));
        for bad in ["", "cpu", "cpu 1 2", "cpu0 1 2 3 4 5", "cpu 1 x 3 4 5"] {
            assert_eq!(cpu_time(bad), None, "{bad}");
        }
        let huge = format!("cpu {0} {0} {0} {0}", u64::MAX);
        assert!(cpu_time(&huge).is_some(), "a guest may say anything");
    }

    #[test]
    fn looks_are_seldom() {
        let seconds = |seconds| pause(Duration::from_secs(seconds)).as_secs();
        assert_eq!((seconds(1), seconds(10), seconds(600)), (2, 5, 30));
    }
}
