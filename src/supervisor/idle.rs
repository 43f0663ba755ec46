//! When a machine that nothing uses is to be suspended. Pure: it is told what
//! there is to see and what time it is.

use std::time::Duration;

/// As much of one processor is what a guest uses that does nothing: its own
/// timers and the looks at it. Translated Debian: 1 to 2 %.
const BUSY_PERCENT: u128 = 5;

/// After a refusal it is not tried again sooner than this, and later each time.
const RETRY: Duration = Duration::from_secs(60);

/// The longest pause after refusals, unless the machine's own time is longer.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// What is seen of a machine at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// On a clock that never goes back.
    pub at: Duration,
    /// Clients of the control endpoint: commands, connections, followers.
    pub users: usize,
    /// How many there have been so far.
    pub uses: u64,
    /// Connections to published ports and to the guest's SSH port that are not
    /// the link; `None`: nobody can tell.
    pub connections: Option<usize>,
    /// Processor time that the guest has used since it booted; `None`: nobody
    /// can tell.
    pub cpu: Option<Duration>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Something uses it.
    Busy,
    /// Nothing has since some time.
    Quiet,
    Suspend,
}

/// Follows a machine through its looks.
#[derive(Debug, Default)]
pub struct Idleness {
    last: Option<Look>,
    /// Since when nothing has used it.
    quiet: Option<Duration>,
    /// Suspending was refused so often in a row.
    refusals: u32,
    not_before: Duration,
}

impl Idleness {
    /// What to do about a machine that shall be suspended when nothing has used
    /// it for `after`.
    pub fn look(&mut self, look: Look, after: Duration) -> Verdict {
        let last = self.last.replace(look);
        if last.is_none_or(|last| is_used(&last, &look)) {
            self.quiet = None;
            return Verdict::Busy;
        }
        // It was quiet already when the last look was taken.
        let since = *self.quiet.get_or_insert(last.map_or(look.at, |last| last.at));
        let long = look.at.saturating_sub(since) >= after;
        if long && look.at >= self.not_before { Verdict::Suspend } else { Verdict::Quiet }
    }

    /// It could not be suspended.
    pub fn refused(&mut self, at: Duration, after: Duration) {
        let pause = RETRY.max(after).saturating_mul(1 << self.refusals.min(10));
        self.refusals = self.refusals.saturating_add(1);
        self.not_before = at + pause.min(LONGEST_RETRY.max(after));
        self.quiet = None;
    }
}

/// Whether anything happened between two looks, or may have.
fn is_used(last: &Look, now: &Look) -> bool {
    if now.users > 0 || now.uses != last.uses || now.connections != Some(0) {
        return true;
    }
    // A guest that has booted anew counts from nought.
    let used = now.cpu.zip(last.cpu).and_then(|(now, last)| now.checked_sub(last));
    let passed = now.at.saturating_sub(last.at);
    used.is_none_or(|used| used.as_millis() * 100 >= passed.as_millis() * BUSY_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(60);
    const STEP: Duration = Duration::from_secs(10);

    /// A machine that does nothing, watched by a clock of its own.
    struct Fake {
        idleness: Idleness,
        look: Look,
    }

    impl Fake {
        fn new() -> Self {
            let look = Look {
                at: Duration::ZERO,
                users: 0,
                uses: 3,
                connections: Some(0),
                cpu: Some(Duration::from_secs(20)),
            };
            Self { idleness: Idleness::default(), look }
        }

        /// One step later, with what `change` makes of it; a hundredth of a
        /// processor is used.
        fn step(&mut self, change: impl FnOnce(&mut Look)) -> Verdict {
            self.look.at += STEP;
            self.look.cpu = self.look.cpu.map(|cpu| cpu + STEP / 100);
            change(&mut self.look);
            self.idleness.look(self.look, AFTER)
        }

        /// How long until it shall be suspended.
        fn patience(&mut self) -> Duration {
            let begin = self.look.at;
            for _ in 0..10_000 {
                if self.step(|_| {}) == Verdict::Suspend {
                    return self.look.at.saturating_sub(begin);
                }
            }
            panic!("never");
        }
    }

    #[test]
    fn nothing_for_long_enough_is_idle() {
        let mut fake = Fake::new();
        assert_eq!(fake.step(|_| {}), Verdict::Busy, "nobody knows what was before");
        assert_eq!(fake.patience(), AFTER);
        assert_eq!(fake.step(|_| {}), Verdict::Suspend, "still");
    }

    #[test]
    fn each_use_begins_the_time_anew() {
        type Change = fn(&mut Look);
        let uses: [(&str, Change); 6] = [
            ("a session", |look| look.users = 1),
            ("one between two looks", |look| look.uses += 1),
            ("a forwarded connection", |look| look.connections = Some(1)),
            ("connections that nobody can tell", |look| look.connections = None),
            ("a guest at work", |look| look.cpu = look.cpu.map(|cpu| cpu + STEP / 20)),
            ("a guest that does not answer", |look| look.cpu = None),
        ];
        for (what, change) in uses {
            let mut fake = Fake::new();
            fake.step(|_| {});
            assert!((0..5).all(|_| fake.step(|_| {}) == Verdict::Quiet));
            assert_eq!(fake.step(change), Verdict::Busy, "{what}");
            let again = fake.step(|look| {
                (look.users, look.connections) = (0, Some(0));
                look.cpu.get_or_insert(Duration::from_secs(50));
            });
            let waited = if again == Verdict::Busy { STEP } else { Duration::ZERO };
            assert!(fake.patience() + waited + STEP >= AFTER, "{what}");
        }
    }

    #[test]
    fn a_guest_that_was_reset_is_not_idle() {
        let mut fake = Fake::new();
        fake.step(|_| {});
        fake.patience();
        assert_eq!(fake.step(|look| look.cpu = Some(Duration::ZERO)), Verdict::Busy);
    }

    #[test]
    fn a_host_that_is_never_free_is_asked_less_and_less() {
        let mut fake = Fake::new();
        fake.step(|_| {});
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pauses.push(fake.patience());
            fake.idleness.refused(fake.look.at, AFTER);
        }
        assert_eq!(pauses[..4], [1, 1, 2, 4].map(|times| AFTER * times));
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&LONGEST_RETRY));
    }

    #[test]
    fn a_day_of_patience_is_kept_after_a_refusal() {
        let mut idleness = Idleness::default();
        let day = Duration::from_secs(86400);
        for _ in 0..20 {
            idleness.refused(day, day);
        }
        assert_eq!(idleness.not_before, day * 2);
    }
}
