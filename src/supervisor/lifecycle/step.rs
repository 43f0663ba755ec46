//! What follows what: the table of the states and their inputs.

use super::{Action, Ending, Failure, Input, Means, QUIT_PATIENCE, State, TRIM_PATIENCE, Wish};

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
