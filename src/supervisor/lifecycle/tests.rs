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
    let wanted = [&[Action::AnnounceRunning, Action::Save][..], &quit, &[Action::Finish]].concat();
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
