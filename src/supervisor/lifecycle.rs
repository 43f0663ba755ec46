//! The life of one run as a pure state machine; `driver` executes its actions.
//!
//! ```text
//!            Ready                StopAsked           VmGone
//! Starting ---------> Running -----------> Stopping --------> Ended
//!    |                                        |  trim, power button, and by
//!    |  StartFailed, Cancelled, VmGone        |  deadline quit, then kill
//!    +-----------> RollingBack ----VmGone-----+----------------> Ended
//!
//! Adopting ---Ready---> Running, and then what was asked meanwhile
//!    |  StartFailed: Ended; a VM that is not ours to undo is left alone
//!
//! Running --HandOverAsked--> Ended; the VM runs on
//!
//! Running --SuspendAsked--> Suspending --Saved--> Leaving --VmGone--> Ended
//!    ^------- SaveFailed -------+
//! ```

use std::time::Duration;

/// QEMU ends itself within this time once told to quit.
pub const QUIT_PATIENCE: Duration = Duration::from_secs(5);

/// A guest gives back what its file systems do not use within this time, or
/// goes without: an ext4 of 100 GiB takes a second or two, translated.
pub const TRIM_PATIENCE: Duration = Duration::from_secs(10);

/// What a run is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Starting,
    /// The VM runs already; its monitor is being found again. What is asked
    /// for meanwhile is remembered.
    Adopting {
        wish: Option<Wish>,
    },
    Running,
    /// The guest stands still while its memory is written. A stop that is asked
    /// for meanwhile is remembered: it counts if the guest runs again. QEMU may
    /// be gone before its memory is known to be safe, or not.
    Suspending {
        stop: Option<Wish>,
        gone: bool,
    },
    /// The memory is safe; the VM is on its way out.
    Leaving,
    Stopping(Means),
    /// The start failed; the VM is on its way out.
    RollingBack {
        why: Failure,
    },
    Ended(Ending),
}

/// What somebody wants of a machine that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Stop {
        force: bool,
        patience: Duration,
    },
    Suspend,
    /// The VM shall have another supervisor.
    HandOver,
}

/// How the VM is being ended: each is tried when the one before did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// The guest was asked to give back disk space first; then it will have
    /// `patience` to shut down.
    Trim { patience: Duration },
    /// The guest was asked (ACPI power button).
    PowerDown,
    /// QEMU was asked.
    Quit,
    /// The process was killed.
    Kill,
}

/// Why a start did not succeed, with the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    pub hint: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It was up and is down.
    Stopped,
    /// It was up and waits in a file.
    Suspended,
    /// It goes on without this supervisor.
    HandedOver,
    StartFailed(Failure),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// All readiness checks passed.
    Ready,
    StartFailed(Failure),
    /// Somebody asked for the start to be undone.
    Cancelled,
    Asked(Wish),
    /// The guest's memory is safe in its file.
    Saved,
    SaveFailed(Failure),
    /// The guest gave its free disk space back, or cannot.
    Trimmed,
    /// The timer set last has run out.
    Deadline,
    /// QEMU is gone.
    VmGone,
}

/// What the driver shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Have the guest give its free disk space back.
    Trim,
    PowerDown,
    Quit,
    Kill,
    /// Stop the guest and write its memory.
    Save,
    SetTimer(Duration),
    /// Persist and tell that the machine runs.
    AnnounceRunning,
    AnnounceStopping,
    /// Tell those who asked for a stop what is being tried.
    Note(&'static str),
    /// Tell whoever asked that it cannot be.
    Refuse(&'static str),
    /// Tell those who asked for it that the machine was not suspended.
    RefuseSuspend(Failure),
    /// Tell those who asked for it that this supervisor stays.
    RefuseHandOver(Failure),
    /// Clean up and leave.
    Finish,
}

/// One step. Inputs that mean nothing in a state change nothing.
pub fn step(state: State, input: Input) -> (State, Vec<Action>) {
    use Action::{AnnounceRunning, AnnounceStopping, Finish, Kill, Note, PowerDown, Quit, Refuse};
    match (state, input) {
        (State::Starting, Input::Ready) => (State::Running, vec![AnnounceRunning]),
        (State::Starting, Input::StartFailed(why)) => roll_back(why),
        (State::Starting, Input::Cancelled) => roll_back(cancelled()),
        (State::Starting, Input::Asked(Wish::Stop { .. })) => roll_back(stopped_meanwhile()),
        (State::Starting, Input::VmGone) => {
            (State::Ended(Ending::StartFailed(vm_died())), vec![Finish])
        }
        (State::Running, Input::Asked(Wish::HandOver)) => {
            (State::Ended(Ending::HandedOver), vec![Finish])
        }
        (state, Input::Asked(Wish::HandOver)) => (state, vec![Action::RefuseHandOver(not_now())]),
        (State::Adopting { .. }, Input::Asked(wish)) => {
            (State::Adopting { wish: Some(wish) }, vec![])
        }
        (State::Adopting { wish }, Input::Ready) => {
            then(State::Running, wish, vec![AnnounceRunning])
        }
        (State::Adopting { .. }, Input::StartFailed(why)) => {
            (State::Ended(Ending::StartFailed(why)), vec![Finish])
        }
        (State::Running, Input::Asked(Wish::Stop { force: false, patience })) => (
            State::Stopping(Means::Trim { patience }),
            vec![AnnounceStopping, Action::Trim, Action::SetTimer(TRIM_PATIENCE.min(patience))],
        ),
        (State::Stopping(Means::Trim { patience }), Input::Trimmed | Input::Deadline) => {
            (State::Stopping(Means::PowerDown), vec![PowerDown, Action::SetTimer(patience)])
        }
        (State::Running, Input::Asked(Wish::Stop { force: true, .. })) => (
            State::Stopping(Means::Quit),
            vec![AnnounceStopping, Quit, Action::SetTimer(QUIT_PATIENCE)],
        ),
        (State::Running, Input::Asked(Wish::Suspend)) => {
            (State::Suspending { stop: None, gone: false }, vec![Action::Save])
        }
        (State::Suspending { gone, .. }, Input::Asked(stop @ Wish::Stop { .. })) => {
            (State::Suspending { stop: Some(stop), gone }, vec![])
        }
        (State::Suspending { stop, .. }, Input::VmGone) => {
            (State::Suspending { stop, gone: true }, vec![])
        }
        (State::Suspending { gone: true, .. }, Input::Saved) => {
            (State::Ended(Ending::Suspended), vec![Finish])
        }
        (State::Suspending { gone: false, .. }, Input::Saved) => {
            (State::Leaving, vec![AnnounceStopping, Quit, Action::SetTimer(QUIT_PATIENCE)])
        }
        (State::Suspending { gone: true, .. }, Input::SaveFailed(why)) => {
            (State::Ended(Ending::Stopped), vec![Action::RefuseSuspend(why), Finish])
        }
        (State::Suspending { stop, gone: false }, Input::SaveFailed(why)) => {
            then(State::Running, stop, vec![Action::RefuseSuspend(why)])
        }
        // Those join, and are told together.
        (state @ (State::Suspending { .. } | State::Leaving), Input::Asked(_)) => (state, vec![]),
        (state, Input::Asked(Wish::Suspend)) => (state, vec![Action::RefuseSuspend(not_now())]),
        (State::Leaving, Input::Deadline) => {
            (State::Leaving, vec![Kill, Action::SetTimer(QUIT_PATIENCE)])
        }
        (State::Leaving, Input::VmGone) => (State::Ended(Ending::Suspended), vec![Finish]),
        (
            state @ (State::Running | State::Adopting { .. } | State::Suspending { .. }),
            Input::Cancelled,
        ) => (state, vec![Refuse("the machine is running already: stop it instead")]),
        (
            State::Stopping(Means::Trim { .. } | Means::PowerDown),
            Input::Asked(Wish::Stop { force: true, .. }),
        ) => (
            State::Stopping(Means::Quit),
            vec![Note("Ending the VM at once"), Quit, Action::SetTimer(QUIT_PATIENCE)],
        ),
        (State::Stopping(Means::PowerDown), Input::Deadline) => (
            State::Stopping(Means::Quit),
            vec![
                Note("The guest did not shut down in time: ending its VM"),
                Quit,
                Action::SetTimer(QUIT_PATIENCE),
            ],
        ),
        (State::Stopping(Means::Quit), Input::Deadline) => (
            State::Stopping(Means::Kill),
            vec![Note("QEMU does not answer: killing it"), Kill, Action::SetTimer(QUIT_PATIENCE)],
        ),
        (State::RollingBack { why }, Input::Deadline) => {
            (State::RollingBack { why }, vec![Kill, Action::SetTimer(QUIT_PATIENCE)])
        }
        (State::RollingBack { why }, Input::VmGone) => {
            (State::Ended(Ending::StartFailed(why)), vec![Finish])
        }
        (State::Running | State::Stopping(_) | State::Adopting { .. }, Input::VmGone) => {
            (State::Ended(Ending::Stopped), vec![Finish])
        }
        (state, _) => (state, vec![]),
    }
}

/// `actions`, and after them what was wished for in the meantime.
fn then(state: State, wish: Option<Wish>, actions: Vec<Action>) -> (State, Vec<Action>) {
    let Some(wish) = wish else { return (state, actions) };
    let (state, more) = step(state, Input::Asked(wish));
    (state, [actions, more].concat())
}

fn roll_back(why: Failure) -> (State, Vec<Action>) {
    (State::RollingBack { why }, vec![Action::Quit, Action::SetTimer(QUIT_PATIENCE)])
}

fn cancelled() -> Failure {
    Failure { message: "the start was interrupted and has been undone".into(), hint: None }
}

fn stopped_meanwhile() -> Failure {
    Failure { message: "the machine was stopped while it was starting".into(), hint: None }
}

fn not_now() -> Failure {
    Failure {
        message: "it is being started or stopped".into(),
        hint: Some("Try again when that has ended".into()),
    }
}

fn vm_died() -> Failure {
    Failure {
        message: "QEMU ended while the guest was starting".into(),
        hint: Some("Look at `nsvm machine logs --supervisor`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(90);

    fn failure(text: &str) -> Failure {
        Failure { message: text.into(), hint: None }
    }

    fn run(inputs: impl IntoIterator<Item = Input>) -> (State, Vec<Action>) {
        run_from(State::Starting, inputs)
    }

    fn run_from(mut state: State, inputs: impl IntoIterator<Item = Input>) -> (State, Vec<Action>) {
        let mut all = Vec::new();
        for input in inputs {
            let (next, actions) = step(state, input);
            state = next;
            all.extend(actions);
        }
        (state, all)
    }

    fn asked(force: bool) -> Input {
        Input::Asked(Wish::Stop { force, patience: PATIENCE })
    }

    #[test]
    fn a_clean_run() {
        let (state, actions) = run([Input::Ready, asked(false), Input::Trimmed, Input::VmGone]);
        assert_eq!(state, State::Ended(Ending::Stopped));
        let wanted = [
            Action::AnnounceRunning,
            Action::AnnounceStopping,
            Action::Trim,
            Action::SetTimer(TRIM_PATIENCE),
            Action::PowerDown,
            Action::SetTimer(PATIENCE),
            Action::Finish,
        ];
        assert_eq!(actions, wanted);
    }

    #[test]
    fn a_stop_gets_harder_with_each_deadline() {
        let deadlines = [Input::Deadline, Input::Deadline, Input::Deadline];
        let (state, actions) = run([Input::Ready, asked(false)].into_iter().chain(deadlines));
        assert_eq!(state, State::Stopping(Means::Kill));
        let hard: Vec<_> = actions
            .into_iter()
            .filter(|a| !matches!(a, Action::Note(_) | Action::SetTimer(_)))
            .skip_while(|a| *a != Action::Trim)
            .collect();
        assert_eq!(hard, [Action::Trim, Action::PowerDown, Action::Quit, Action::Kill]);
    }

    #[test]
    fn a_failed_start_ends_the_vm_and_keeps_its_reason() {
        let inputs = [Input::StartFailed(failure("x")), Input::Ready, Input::VmGone];
        let (state, actions) = run(inputs);
        assert_eq!(state, State::Ended(Ending::StartFailed(failure("x"))));
        assert!(!actions.contains(&Action::AnnounceRunning));
        assert_eq!(actions.first(), Some(&Action::Quit));
        assert_eq!(actions.last(), Some(&Action::Finish));
    }

    #[test]
    fn cancel_undoes_a_start_but_not_a_running_machine() {
        let (state, _) = run([Input::Cancelled, Input::VmGone]);
        assert!(matches!(state, State::Ended(Ending::StartFailed(_))));
        let (state, actions) = run([Input::Ready, Input::Cancelled]);
        assert_eq!(state, State::Running);
        assert!(matches!(actions.last(), Some(Action::Refuse(_))));
    }

    #[test]
    fn an_adopted_vm_is_stopped_politely_and_never_undone() {
        let adopting = State::Adopting { wish: None };
        let inputs = [asked(false), Input::Ready, Input::Trimmed];
        let (state, actions) = run_from(adopting.clone(), inputs);
        assert_eq!(state, State::Stopping(Means::PowerDown));
        assert!(actions.contains(&Action::PowerDown) && !actions.contains(&Action::Quit));
        let (state, actions) = run_from(adopting, [Input::StartFailed(failure("x"))]);
        assert_eq!(state, State::Ended(Ending::StartFailed(failure("x"))));
        assert_eq!(actions, [Action::Finish]);
    }

    #[test]
    fn force_cuts_a_patient_stop_short() {
        let (state, _) = run([Input::Ready, asked(false), asked(true)]);
        assert_eq!(state, State::Stopping(Means::Quit));
        let (state, _) = run([Input::Ready, asked(false), Input::Trimmed, asked(true)]);
        assert_eq!(state, State::Stopping(Means::Quit));
    }

    #[test]
    fn an_impatient_stop_trims_no_longer_than_it_waits() {
        let patience = Duration::from_secs(1);
        let stop = Input::Asked(Wish::Stop { force: false, patience });
        let (state, actions) = run([Input::Ready, stop]);
        assert_eq!(state, State::Stopping(Means::Trim { patience }));
        assert_eq!(actions.last(), Some(&Action::SetTimer(patience)));
    }

    #[test]
    fn a_guest_that_powers_itself_off_has_stopped() {
        let (state, actions) = run([Input::Ready, Input::VmGone]);
        assert_eq!(state, State::Ended(Ending::Stopped));
        assert_eq!(actions.last(), Some(&Action::Finish));
    }

    #[test]
    fn only_a_running_machine_is_handed_over_and_its_vm_left_alone() {
        let hand_over = Input::Asked(Wish::HandOver);
        let (state, actions) = run([Input::Ready, hand_over.clone()]);
        assert_eq!(state, State::Ended(Ending::HandedOver));
        assert_eq!(actions, [Action::AnnounceRunning, Action::Finish]);
        let stopping = vec![Input::Ready, asked(false)];
        for inputs in [vec![], stopping, vec![Input::Ready, SUSPEND], vec![Input::Cancelled]] {
            let (before, _) = run(inputs);
            let (state, actions) = run_from(before.clone(), [hand_over.clone()]);
            assert_eq!(state, before);
            assert!(matches!(actions[..], [Action::RefuseHandOver(_)]), "{actions:?}");
        }
        let wish = Some(Wish::Stop { force: false, patience: PATIENCE });
        let (state, _) = run_from(State::Adopting { wish }, [hand_over]);
        assert_eq!(state, State::Adopting { wish }, "the stop is not forgotten");
    }

    const SUSPEND: Input = Input::Asked(Wish::Suspend);

    #[test]
    fn a_machine_is_suspended_and_its_vm_ended() {
        let (state, actions) = run([Input::Ready, SUSPEND, SUSPEND, Input::Saved, Input::VmGone]);
        assert_eq!(state, State::Ended(Ending::Suspended));
        let quit = [Action::AnnounceStopping, Action::Quit, Action::SetTimer(QUIT_PATIENCE)];
        let wanted =
            [&[Action::AnnounceRunning, Action::Save][..], &quit, &[Action::Finish]].concat();
        assert_eq!(actions, wanted);
        // A QEMU that does not end is killed: what counts is in the file.
        let (state, actions) = run([Input::Ready, SUSPEND, Input::Saved, Input::Deadline]);
        assert_eq!(state, State::Leaving);
        assert!(actions.contains(&Action::Kill));
    }

    #[test]
    fn a_machine_that_cannot_be_suspended_runs_on() {
        let failed = || Input::SaveFailed(failure("disk full"));
        let (state, actions) = run([Input::Ready, SUSPEND, failed()]);
        assert_eq!(state, State::Running);
        assert_eq!(actions.last(), Some(&Action::RefuseSuspend(failure("disk full"))));
        // A stop that came meanwhile is not forgotten.
        let (state, _) = run([Input::Ready, SUSPEND, asked(false), failed()]);
        assert_eq!(state, State::Stopping(Means::Trim { patience: PATIENCE }));
        let (state, _) = run([Input::Ready, SUSPEND, asked(false), Input::Saved]);
        assert_eq!(state, State::Leaving);
    }

    #[test]
    fn a_qemu_that_dies_is_suspended_only_if_all_was_safe() {
        let (state, actions) = run([Input::Ready, SUSPEND, Input::VmGone]);
        assert_eq!(state, State::Suspending { stop: None, gone: true });
        assert!(!actions.contains(&Action::Finish), "the file's fate is not known yet");
        let (state, _) = run_from(state.clone(), [Input::Saved]);
        assert_eq!(state, State::Ended(Ending::Suspended));
        let gone = State::Suspending { stop: None, gone: true };
        let (state, _) = run_from(gone, [Input::SaveFailed(failure("x"))]);
        assert_eq!(state, State::Ended(Ending::Stopped));
    }

    #[test]
    fn only_what_runs_can_be_suspended() {
        for inputs in [vec![], vec![Input::Ready, asked(false)], vec![Input::Cancelled]] {
            let (before, _) = run(inputs.clone());
            let (state, actions) = run_from(before.clone(), [SUSPEND]);
            assert_eq!(state, before);
            assert!(matches!(actions[..], [Action::RefuseSuspend(_)]), "{actions:?}");
        }
        let adopting = State::Adopting { wish: None };
        let (state, _) = run_from(adopting, [SUSPEND, Input::Ready]);
        assert!(matches!(state, State::Suspending { .. }), "{state:?}");
    }
}
