//! For unit tests: a job with a cache of its own, whose events are kept.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::cache::Cache;
use super::prepare::{Job, Settings};
use crate::machine::config::Arch;
use crate::machine::event::{Event, Progress};

#[derive(Default)]
pub struct Recorder(Mutex<Vec<Event>>);

impl Progress for Recorder {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// Runs `work` with a job that `cancel` ends; returns the events too.
pub fn with_job<T>(cancel: &AtomicBool, work: impl FnOnce(Job<'_>) -> T) -> (T, Vec<Event>) {
    let dir = tempfile::tempdir().unwrap();
    let (cache, settings) = (Cache::open(dir.path()).unwrap(), Settings::default());
    let progress = Recorder::default();
    let job = Job {
        cache: &cache,
        settings: &settings,
        arch: Arch::X86_64,
        progress: &progress,
        cancel,
        bearer: None,
    };
    let result = work(job);
    (result, progress.0.into_inner().unwrap())
}
