//! Everything that happens in a run, for clients that follow all of it.

use tokio::sync::{broadcast, watch};

use crate::machine::event::{Event, RunState};

/// A client that is this many events behind misses the oldest.
const BACKLOG: usize = 1024;

/// Tells all who listen.
#[derive(Debug, Clone)]
pub struct News {
    events: broadcast::Sender<Event>,
    state: watch::Sender<RunState>,
}

impl Default for News {
    fn default() -> Self {
        let (events, _) = broadcast::channel(BACKLOG);
        Self { events, state: watch::Sender::new(RunState::Starting) }
    }
}

impl News {
    /// Nobody listening is fine.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// The run has got to `state`.
    pub fn reached(&self, state: RunState) {
        if self.state.send_replace(state) != state {
            self.tell(Event::State { state });
        }
    }

    /// Where the run is, and what comes from now on.
    pub fn follow(&self) -> (RunState, broadcast::Receiver<Event>) {
        // In this order a state may be told twice, but none is missed.
        let events = self.events.subscribe();
        (*self.state.borrow(), events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_late_is_told_the_state_and_what_follows() {
        let news = News::default();
        news.reached(RunState::Running);
        let (state, mut events) = news.follow();
        assert_eq!(state, RunState::Running);
        news.reached(RunState::Running);
        news.tell(Event::Note { text: "x".into() });
        news.reached(RunState::Stopped);
        let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        let stopped = Event::State { state: RunState::Stopped };
        assert_eq!(told, [Event::Note { text: "x".into() }, stopped]);
    }
}
