//! The links that are served. When the guest goes on after it was saved, those
//! of before lead nowhere, and nobody would ever say so.

use std::cell::Cell;

use tokio::sync::watch;

/// Counts links, and knows from which on they are alive.
pub struct Links {
    made: Cell<u64>,
    alive_from: watch::Sender<u64>,
}

impl Default for Links {
    fn default() -> Self {
        Self { made: Cell::new(0), alive_from: watch::Sender::new(0) }
    }
}

impl Links {
    /// A number for a new link.
    pub fn number(&self) -> u64 {
        self.made.set(self.made.get() + 1);
        self.made.get()
    }

    /// All links but the last one are dead.
    pub fn only_last_lives(&self) {
        self.alive_from.send_replace(self.made.get());
    }

    /// Returns when the link with this number is known to be dead.
    pub async fn dead(&self, number: u64) {
        // The sender lives as long as this.
        let _ = self.alive_from.subscribe().wait_for(|from| number < *from).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_wake_ends_the_links_of_before() {
        let links = Links::default();
        let (before, now) = (links.number(), links.number());
        assert!(links.dead(before).now_or_never().is_none());
        links.only_last_lives();
        assert!(links.dead(before).now_or_never().is_some());
        assert!(links.dead(now).now_or_never().is_none());
        assert!(links.dead(links.number()).now_or_never().is_none());
    }
}
