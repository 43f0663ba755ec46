//! A machine that was suspended because nothing used it, or for a moment: whoever needs it next
//! resumes it, and notices nothing unless that takes long.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::{Context, start};
use crate::machine::event::{Event, Progress};
use crate::machine::name::MachineName;
use crate::machine::suspended::Reason;

/// A user who waits longer than this wants to know for what.
const QUIET: Duration = Duration::from_secs(2);

/// Whether the machine waits for the next command.
pub fn is_asleep(context: &Context, name: &MachineName) -> bool {
    matches!(context.store.suspend_reason(name), Some(Reason::Idle | Reason::Brief))
}

/// Resumes it; one that somebody else resumed meanwhile is fine.
pub fn wake(context: &Context, name: &MachineName) -> anyhow::Result<()> {
    let aside = context.aside;
    let (done, waits) = mpsc::channel::<()>();
    let text = match context.store.suspend_reason(name) {
        Some(Reason::Idle) => {
            format!("nsvm: resuming machine \"{name}\", which was suspended: nothing used it")
        }
        _ => format!("nsvm: resuming machine \"{name}\""),
    };
    let telling = thread::Builder::new().name("late".to_owned()).spawn(move || {
        if waits.recv_timeout(QUIET) == Err(RecvTimeoutError::Timeout) {
            aside(&text);
        }
    })?;
    let woken = start::ensure_started(context, name, &Warnings(aside), &AtomicBool::new(false));
    drop(done);
    let _ = telling.join();
    woken
}

/// Passes on what went wrong, and nothing else.
struct Warnings(fn(&str));

impl Progress for Warnings {
    fn event(&self, event: &Event) {
        if let Event::Warning { text } = event {
            let safe: String = text.chars().filter(|c| !c.is_control()).collect();
            (self.0)(&format!("nsvm: {safe}"));
        }
    }
}
