//! Who uses the machine through the control endpoint. While it is being
//! suspended those who come wait outside; if it was, they are let go when this
//! supervisor has left, and find the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// The guest is being saved.
    Closed,
    /// Nobody supervises this run any more.
    Gone,
}

/// Counts uses, and holds them up.
#[derive(Debug, Clone)]
pub struct Uses {
    door: Arc<watch::Sender<Door>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    now: AtomicUsize,
    so_far: AtomicU64,
}

/// A use, until this is dropped.
#[derive(Debug)]
pub struct Use(Arc<Counts>);

impl Drop for Use {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Uses {
    fn default() -> Self {
        Self { door: Arc::new(watch::Sender::new(Door::Open)), counts: Arc::default() }
    }
}

impl Uses {
    /// A use that begins now, or once it is known that the machine was not
    /// suspended. `None`: it was.
    pub async fn begin(&self) -> Option<Use> {
        let mut door = self.door.subscribe();
        // No await lies between the open door and the count.
        let decided = door.wait_for(|door| *door != Door::Closed).await.map(|door| *door);
        matches!(decided, Ok(Door::Open)).then(|| self.follow())
    }

    /// One that nothing can hold up: it needs no guest.
    pub fn follow(&self) -> Use {
        self.counts.now.fetch_add(1, Ordering::Relaxed);
        self.counts.so_far.fetch_add(1, Ordering::Relaxed);
        Use(self.counts.clone())
    }

    /// How many there are.
    pub fn now(&self) -> usize {
        self.counts.now.load(Ordering::Relaxed)
    }

    /// How many there have been, these included.
    pub fn so_far(&self) -> u64 {
        self.counts.so_far.load(Ordering::Relaxed)
    }

    /// The guest is being saved.
    pub fn close(&self) {
        self.door.send_replace(Door::Closed);
    }

    /// It was not saved, and runs on.
    pub fn open(&self) {
        self.door.send_replace(Door::Open);
    }

    /// The next supervisor may begin.
    pub fn gone(&self) {
        self.door.send_replace(Door::Gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn uses_are_counted_and_held_up_while_the_guest_is_saved() {
        let uses = Uses::default();
        let first = uses.begin().await.unwrap();
        drop(uses.begin().await);
        assert_eq!((uses.now(), uses.so_far()), (1, 2));
        drop(first);
        uses.close();
        let waiting = {
            let uses = uses.clone();
            tokio::spawn(async move { uses.begin().await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(uses.now(), 0);
        uses.open();
        let granted = waiting.await.unwrap();
        assert!(granted.is_some() && uses.now() == 1);
        uses.gone();
        assert!(uses.begin().await.is_none());
    }
}
