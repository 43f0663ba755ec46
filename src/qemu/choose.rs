//! Chooses the accelerator: asks the cache first, then probe VMs, and judges
//! what they did. The probes themselves are behind [`Prober`].

use std::time::Duration;

use super::accel::{Accelerator, Candidate, Choice, Rejection};
use super::cache::{Asked, Cache, Verdict};

/// A probe VM that ends within this is fast enough whatever TCG does: it takes
/// 0.1 s under a good accelerator and 0.4 s under TCG.
pub const FAST_ENOUGH: Duration = Duration::from_secs(2);

/// Nothing is left to fall back on after TCG, so it gets time even on a host
/// that is busy with something else.
pub const TCG_DEADLINE: Duration = Duration::from_secs(60);

/// How one probe VM ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did its work and powered off.
    Ended(Duration),
    /// It ended in another way; in QEMU's own words where it had any.
    Failed(String),
    /// It was stopped at its deadline.
    Late,
}

/// A reason, known without a probe, not to try an accelerator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barrier {
    pub reason: String,
    pub hint: Option<String>,
}

/// Runs probe VMs.
pub trait Prober {
    /// Whether something cheap to see, such as an absent device node, rules
    /// this accelerator out. Asked each time, so a mended host is noticed.
    fn barrier(&self, accelerator: Accelerator) -> Option<Barrier>;

    /// Runs one probe VM, at most until `deadline`.
    fn run(&self, candidate: &Candidate, deadline: Duration) -> Outcome;
}

/// Nothing works; the last word is TCG's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoneWorks(pub Vec<Rejection>);

/// The first candidate whose probe ends well. `candidates` is ordered best
/// first and ends with TCG.
pub fn choose(
    candidates: &[Candidate],
    prober: &dyn Prober,
    cache: &mut Cache,
    asked: &Asked<'_>,
) -> Result<Choice, NoneWorks> {
    let mut judge = Judge { prober, cache, asked };
    let mut rejected = Vec::new();
    for candidate in candidates {
        match judge.rejection(candidate, candidates.last()) {
            Some(rejection) => rejected.push(rejection),
            None => {
                return Ok(Choice {
                    in_use: candidate.accelerator,
                    cpu_model: candidate.cpu_model.clone(),
                    rejected,
                });
            }
        }
    }
    Err(NoneWorks(rejected))
}

struct Judge<'a> {
    prober: &'a dyn Prober,
    cache: &'a mut Cache,
    asked: &'a Asked<'a>,
}

impl Judge<'_> {
    /// Why a candidate cannot be used, or `None` when it can.
    fn rejection(&mut self, candidate: &Candidate, tcg: Option<&Candidate>) -> Option<Rejection> {
        let name = candidate.accelerator;
        if let Some(Barrier { reason, hint }) = self.prober.barrier(name) {
            return Some(Rejection { name, reason, hint });
        }
        match self.verdict(candidate, tcg) {
            Verdict::Works { .. } => None,
            Verdict::Fails { reason } | Verdict::Slow { reason } => {
                Some(Rejection { name, reason, hint: None })
            }
        }
    }

    fn verdict(&mut self, candidate: &Candidate, tcg: Option<&Candidate>) -> Verdict {
        if let Some(known) = self.cache.verdict(self.asked, candidate) {
            return known.clone();
        }
        let verdict = if candidate.accelerator == Accelerator::Tcg {
            self.judge_tcg(candidate)
        } else {
            self.judge(candidate, tcg)
        };
        self.cache.learn(self.asked, candidate, verdict.clone());
        verdict
    }

    fn judge_tcg(&self, tcg: &Candidate) -> Verdict {
        match self.prober.run(tcg, TCG_DEADLINE) {
            Outcome::Ended(took) => Verdict::Works { millis: millis(took) },
            Outcome::Failed(reason) => Verdict::Fails { reason },
            Outcome::Late => Verdict::Slow {
                reason: format!("a probe VM was not done after {}", seconds(TCG_DEADLINE)),
            },
        }
    }

    /// Failing rejects at once; slowness only when two runs in a row exceed
    /// the limit, which TCG's own run may lift. TCG runs only if that matters.
    fn judge(&mut self, candidate: &Candidate, tcg: Option<&Candidate>) -> Verdict {
        if let Some(verdict) = settled(self.prober.run(candidate, FAST_ENOUGH)) {
            return verdict;
        }
        let limit = self.limit(tcg);
        // The first run counts as one of the two if it had all of that time.
        let further = if limit > FAST_ENOUGH { 2 } else { 1 };
        for _ in 0..further {
            if let Some(verdict) = settled(self.prober.run(candidate, limit)) {
                return verdict;
            }
        }
        Verdict::Slow {
            reason: format!("two probe VMs in a row were not done after {}", seconds(limit)),
        }
    }

    /// Twice as long as TCG took, and at least [`FAST_ENOUGH`].
    fn limit(&mut self, tcg: Option<&Candidate>) -> Duration {
        match tcg.map(|tcg| self.verdict(tcg, None)) {
            Some(Verdict::Works { millis }) => FAST_ENOUGH.max(2 * Duration::from_millis(millis)),
            _ => FAST_ENOUGH,
        }
    }
}

/// What one run settles: everything but lateness.
fn settled(outcome: Outcome) -> Option<Verdict> {
    match outcome {
        Outcome::Ended(took) => Some(Verdict::Works { millis: millis(took) }),
        Outcome::Failed(reason) => Some(Verdict::Fails { reason }),
        Outcome::Late => None,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::SystemTime;

    use super::*;
    use crate::machine::config::Arch;
    use crate::qemu::accel::{Host, Os, candidates};
    use crate::qemu::cache::Identity;

    /// Plays back outcomes and writes down what was asked of it.
    struct Script {
        kvm: RefCell<Vec<Outcome>>,
        tcg: Outcome,
        barrier: Option<Barrier>,
        ran: RefCell<Vec<(Accelerator, Duration)>>,
    }

    impl Script {
        fn new(kvm: &[Outcome], tcg: Outcome) -> Self {
            let kvm = RefCell::new(kvm.iter().rev().cloned().collect());
            Self { kvm, tcg, barrier: None, ran: RefCell::default() }
        }

        fn ran(&self) -> Vec<(Accelerator, u64)> {
            self.ran.borrow().iter().map(|(name, limit)| (*name, millis(*limit))).collect()
        }
    }

    impl Prober for Script {
        fn barrier(&self, accelerator: Accelerator) -> Option<Barrier> {
            self.barrier.clone().filter(|_| accelerator == Accelerator::Kvm)
        }

        fn run(&self, candidate: &Candidate, deadline: Duration) -> Outcome {
            self.ran.borrow_mut().push((candidate.accelerator, deadline));
            match candidate.accelerator {
                Accelerator::Tcg => self.tcg.clone(),
                _ => self.kvm.borrow_mut().pop().expect("no further run was expected"),
            }
        }
    }

    fn ended(millis: u64) -> Outcome {
        Outcome::Ended(Duration::from_millis(millis))
    }

    fn failed(reason: &str) -> Outcome {
        Outcome::Failed(reason.to_owned())
    }

    fn decide(script: &Script, cache: &mut Cache) -> Result<Choice, NoneWorks> {
        let identity = Identity { path: "/qemu".into(), modified: 1, size: 1 };
        let asked = Asked { identity: &identity, boot: Some("b"), now: SystemTime::UNIX_EPOCH };
        let host = Host { os: Os::Linux, arch: Arch::X86_64 };
        choose(&candidates(host, Arch::X86_64), script, cache, &asked)
    }

    fn decide_anew(script: &Script) -> Choice {
        decide(script, &mut Cache::default()).unwrap()
    }

    #[test]
    fn a_good_accelerator_needs_one_probe_and_no_comparison() {
        let script = Script::new(&[ended(90)], ended(400));
        let choice = decide_anew(&script);
        assert_eq!((choice.in_use, choice.cpu_model.as_str()), (Accelerator::Kvm, "host"));
        assert_eq!(script.ran(), [(Accelerator::Kvm, 2000)]);
    }

    #[test]
    fn a_failure_rejects_at_once_and_keeps_the_reason() {
        let script = Script::new(&[failed("failed to set MSR 0x10a to 0x69")], ended(400));
        let choice = decide_anew(&script);
        assert_eq!((choice.in_use, choice.cpu_model.as_str()), (Accelerator::Tcg, "max,-erms"));
        assert_eq!(choice.rejected[0].reason, "failed to set MSR 0x10a to 0x69");
        assert_eq!(script.ran(), [(Accelerator::Kvm, 2000), (Accelerator::Tcg, 60_000)]);
    }

    #[test]
    fn two_slow_runs_in_a_row_reject() {
        let script = Script::new(&[Outcome::Late, Outcome::Late], ended(400));
        let choice = decide_anew(&script);
        assert_eq!(choice.in_use, Accelerator::Tcg);
        assert_eq!(choice.rejected[0].reason, "two probe VMs in a row were not done after 2.0 s");
        let order = [Accelerator::Kvm, Accelerator::Tcg, Accelerator::Kvm];
        assert_eq!(script.ran().iter().map(|run| run.0).collect::<Vec<_>>(), order);
    }

    #[test]
    fn one_slow_run_is_forgiven() {
        let script = Script::new(&[Outcome::Late, ended(90)], ended(400));
        assert_eq!(decide_anew(&script).in_use, Accelerator::Kvm);
    }

    #[test]
    fn a_host_that_is_slow_at_everything_gets_a_longer_limit() {
        let late = [Outcome::Late, Outcome::Late, Outcome::Late];
        let script = Script::new(&late, ended(3000));
        assert_eq!(decide_anew(&script).in_use, Accelerator::Tcg);
        let limits: Vec<u64> = script.ran().iter().map(|run| run.1).collect();
        assert_eq!(limits, [2000, 60_000, 6000, 6000]);
    }

    #[test]
    fn a_barrier_needs_no_probe_and_is_never_cached() {
        let mut script = Script::new(&[ended(90)], ended(400));
        let barrier = Barrier { reason: "no device".into(), hint: Some("add it".into()) };
        script.barrier = Some(barrier);
        let mut cache = Cache::default();
        let choice = decide(&script, &mut cache).unwrap();
        assert_eq!(choice.rejected[0].hint.as_deref(), Some("add it"));
        assert_eq!(script.ran(), [(Accelerator::Tcg, 60_000)]);
        script.barrier = None;
        assert_eq!(decide(&script, &mut cache).unwrap().in_use, Accelerator::Kvm);
    }

    #[test]
    fn a_second_choice_runs_nothing_and_says_the_same() {
        let script = Script::new(&[failed("no")], ended(400));
        let mut cache = Cache::default();
        let first = decide(&script, &mut cache).unwrap();
        let runs = script.ran().len();
        assert_eq!(decide(&script, &mut cache).unwrap(), first);
        assert_eq!(script.ran().len(), runs);
    }

    #[test]
    fn when_nothing_works_all_reasons_are_kept() {
        let script = Script::new(&[failed("no kvm")], failed("no tcg"));
        let NoneWorks(rejected) = decide(&script, &mut Cache::default()).unwrap_err();
        let reasons: Vec<&str> = rejected.iter().map(|r| r.reason.as_str()).collect();
        assert_eq!(reasons, ["no kvm", "no tcg"]);
    }
}
