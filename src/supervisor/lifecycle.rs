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

mod step;

use std::time::Duration;

pub use step::step;

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

#[cfg(test)]
mod tests;
