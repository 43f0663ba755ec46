//! What watchers are told: every event so far, then those to come, then how
//! it ended.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use super::news::News;
use crate::control::message::Reply;
use crate::machine::event::{Event, Progress};

/// Events of one start or one stop.
#[derive(Default)]
pub struct Feed {
    inner: Mutex<Inner>,
    news: News,
}

#[derive(Default)]
struct Inner {
    so_far: Vec<Reply>,
    watchers: Vec<mpsc::UnboundedSender<Reply>>,
    ended: bool,
}

impl Feed {
    /// One whose events are news, too.
    pub fn telling(news: News) -> Self {
        Self { news, ..Self::default() }
    }

    /// A watcher that joins late still sees everything.
    pub fn watch(&self) -> mpsc::UnboundedReceiver<Reply> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut inner = self.lock();
        for reply in &inner.so_far {
            let _ = sender.send(reply.clone());
        }
        if !inner.ended {
            inner.watchers.push(sender);
        }
        receiver
    }

    /// The last thing anybody is told; later calls change nothing.
    pub fn end(&self, reply: Reply) {
        let mut inner = self.lock();
        if !inner.ended {
            inner.push(reply);
            inner.ended = true;
            inner.watchers.clear();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, reply: Reply) {
        self.watchers.retain(|watcher| watcher.send(reply.clone()).is_ok());
        self.so_far.push(reply);
    }
}

impl Progress for Feed {
    fn event(&self, event: &Event) {
        tracing::info!(?event);
        let mut inner = self.lock();
        if !inner.ended {
            inner.push(Reply::event(event.clone()));
            self.news.tell(event.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Event {
        Event::Note { text: text.into() }
    }

    #[test]
    fn early_and_late_watchers_see_the_same() {
        let feed = Feed::default();
        let mut early = feed.watch();
        feed.event(&note("one"));
        let mut middle = feed.watch();
        feed.event(&note("two"));
        feed.end(Reply::Done);
        feed.event(&note("after the end"));
        let mut late = feed.watch();
        let wanted = [Reply::event(note("one")), Reply::event(note("two")), Reply::Done];
        for watcher in [&mut early, &mut middle, &mut late] {
            let seen: Vec<_> = std::iter::from_fn(|| watcher.try_recv().ok()).collect();
            assert_eq!(seen, wanted);
            assert!(watcher.is_closed());
        }
    }
}
