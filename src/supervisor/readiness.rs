//! The readiness checks as a table: each has a deadline, a name that says
//! what is waited for, and a hint for when it fails.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use super::feed::Feed;
use super::lifecycle::Failure;
use crate::machine::event::{CheckState, Event, Progress};
use crate::qemu::tail::tail;

/// One thing that must be so before a machine counts as running.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    pub name: &'static str,
    pub hint: &'static str,
}

pub const QEMU: Check = Check {
    name: "QEMU answers",
    hint: "Look at `nsvm machine logs --supervisor` for what QEMU said",
};

pub const SSHD: Check = Check {
    name: "the guest's SSH server answers",
    hint: "Look at the guest's console with `nsvm machine logs --serial`; \
           a slow guest may need a longer --timeout",
};

pub const MEMORY: Check = Check {
    name: "the guest goes on where it was",
    hint: "`nsvm machine stop --force` gives the suspended state up, and the next start boots",
};

pub const TEMPLATE: Check = Check {
    name: "the guest begins as a copy of the template",
    hint: "`nsvm image template rm --all` removes all templates, and machines boot",
};

pub const AGENT: Check = Check {
    name: "the guest agent answers",
    hint: "Look at `nsvm machine logs --supervisor` and `nsvm machine logs --serial`",
};

/// How much of the console a failure quotes.
const CONSOLE_LINES: usize = 12;

/// Runs checks one after another against one deadline.
pub struct Checks<'a> {
    feed: &'a Feed,
    table: &'a [Check],
    passed: usize,
    end: Instant,
    timeout: Duration,
    console: &'a Path,
}

impl<'a> Checks<'a> {
    pub fn new(feed: &'a Feed, table: &'a [Check], timeout: Duration, console: &'a Path) -> Self {
        Self { feed, table, passed: 0, end: Instant::now() + timeout, timeout, console }
    }

    /// What is left for all the checks together.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Runs the table's next check, which `work` performs.
    pub async fn next<T, E: Into<Failure>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        let check = self.table[self.passed];
        self.report(check, CheckState::Waiting);
        let failure = match tokio::time::timeout(self.left(), work).await {
            Ok(Ok(value)) => {
                self.report(check, CheckState::Passed);
                self.passed += 1;
                return Ok(value);
            }
            Ok(Err(e)) => e.into(),
            Err(_) => Failure {
                message: format!("it did not within {} s", self.timeout.as_secs()),
                hint: None,
            },
        };
        self.report(check, CheckState::Failed);
        Err(self.explain(check, failure))
    }

    fn report(&self, check: Check, state: CheckState) {
        let (index, of) = (self.passed + 1, self.table.len());
        self.feed.event(&Event::Check { index, of, name: check.name.into(), state });
    }

    fn explain(&self, check: Check, failure: Failure) -> Failure {
        let console = tail(self.console, CONSOLE_LINES);
        let quoted = if console.is_empty() {
            "\nThe guest's console is empty.".to_owned()
        } else {
            format!("\nThe guest's console ends with:\n{console}")
        };
        let message = format!(
            "check {} of {}, \"{}\", failed: {}{quoted}",
            self.passed + 1,
            self.table.len(),
            check.name,
            failure.message
        );
        Failure { message, hint: failure.hint.or_else(|| Some(check.hint.into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_time() -> Duration {
        Duration::from_millis(20)
    }

    #[tokio::test]
    async fn a_check_that_never_ends_is_named_with_console_and_hint() {
        let dir = tempfile::tempdir().unwrap();
        let console = dir.path().join("serial.log");
        std::fs::write(&console, "No bootable device.\n").unwrap();
        let feed = Feed::default();
        let table = [QEMU, SSHD];
        let mut checks = Checks::new(&feed, &table, no_time(), &console);
        checks.next(async { Ok::<_, Failure>(()) }).await.unwrap();
        let failed = checks.next(std::future::pending::<Result<(), Failure>>()).await.unwrap_err();
        assert!(failed.message.contains("check 2 of 2"), "{}", failed.message);
        assert!(failed.message.contains("No bootable device."), "{}", failed.message);
        assert_eq!(failed.hint.as_deref(), Some(SSHD.hint));
    }

    #[tokio::test]
    async fn a_check_says_why_it_failed() {
        let feed = Feed::default();
        let mut checks = Checks::new(&feed, &[AGENT], no_time(), Path::new("/nonexistent"));
        let why = Failure { message: "no sudo".into(), hint: Some("install it".into()) };
        let failed = checks.next(async { Err::<(), _>(why) }).await.unwrap_err();
        assert!(failed.message.contains("no sudo"), "{}", failed.message);
        assert_eq!(failed.hint.as_deref(), Some("install it"));
    }
}
