//! Outcomes as exit codes and messages (DESIGN: exit codes).

use crate::namespace::limits;
use crate::protocol::outcome::{FailedStep, Failure, Outcome};
use crate::protocol::signal;

/// In whose words failures are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    /// `unshare: ...`, exit 1, as util-linux does.
    Unshare,
    /// `nsenter: ...`, the same.
    Nsenter,
    /// `lsns: ...`, the same.
    Lsns,
    /// `Error: ...`, exit 125, as podman does.
    Podman,
}

/// How the command ends on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub code: u8,
    /// For stderr, one line.
    pub message: Option<String>,
}

/// nsvm itself failed, or refused.
pub const OURS: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
const ENOENT: i32 = 2;

/// The program's own code, 128+n for a signal, and for a program that never
/// ran a code that tells which part failed.
pub fn verdict(wording: Wording, outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Exited(code) => Verdict { code: *code, message: None },
        Outcome::Signaled { signal, .. } => {
            Verdict { code: 128u8.saturating_add(*signal), message: None }
        }
        Outcome::OutOfMemory { limit, then } => {
            let code = verdict(wording, then).code;
            Verdict { code, message: Some(wording.line(&out_of_memory(*limit, then))) }
        }
        Outcome::NotStarted(failure) => {
            let code = not_started(wording, failure);
            Verdict { code, message: Some(wording.line(&failure.message)) }
        }
    }
}

/// A program can outlive a process of it that was killed: then that is why it
/// did what it did.
fn out_of_memory(limit: u64, then: &Outcome) -> String {
    let killed = matches!(then, Outcome::Signaled { signal: signal::KILL, .. });
    let who = if killed { "the program" } else { "a process of the program" };
    format!("{who} was ended by the kernel: out of its {} of memory (OOM)", limits::bytes(limit))
}

fn not_started(wording: Wording, failure: &Failure) -> u8 {
    match (failure.step, wording) {
        (FailedStep::Exec, _) if failure.errno == ENOENT => NOT_FOUND,
        (FailedStep::Exec, _) => NOT_EXECUTABLE,
        (
            FailedStep::Namespaces | FailedStep::User | FailedStep::WorkingDirectory,
            Wording::Unshare | Wording::Nsenter | Wording::Lsns,
        ) => 1,
        _ => OURS,
    }
}

impl Wording {
    /// A failure's line, control characters of the guest made harmless.
    pub fn line(self, message: &str) -> String {
        let prefix = match self {
            Self::Unshare => "unshare",
            Self::Nsenter => "nsenter",
            Self::Lsns => "lsns",
            Self::Podman => "Error",
        };
        let safe: String =
            message.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        format!("{prefix}: {safe}")
    }

    /// The exit code of options that were refused.
    pub const fn usage_code(self) -> u8 {
        match self {
            Self::Unshare | Self::Nsenter | Self::Lsns => 1,
            Self::Podman => OURS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(step: FailedStep, errno: i32) -> Outcome {
        Outcome::NotStarted(Failure { step, errno, message: "m".into() })
    }

    #[test]
    fn codes_follow_the_design() {
        use FailedStep as Step;
        for (outcome, unshare, exec) in [
            (Outcome::Exited(0), 0, 0),
            (Outcome::Exited(7), 7, 7),
            (Outcome::Signaled { signal: 9, core: false }, 137, 137),
            (Outcome::Signaled { signal: 64, core: true }, 192, 192),
            (failed(Step::Exec, 2), 127, 127),
            (failed(Step::Exec, 13), 126, 126),
            (failed(Step::Namespaces, 1), 1, 125),
            (failed(Step::User, 0), 1, 125),
            (failed(Step::WorkingDirectory, 2), 1, 125),
            (failed(Step::Launch, 11), 125, 125),
            (failed(Step::Request, 0), 125, 125),
        ] {
            assert_eq!(verdict(Wording::Unshare, &outcome).code, unshare, "{outcome:?}");
            assert_eq!(verdict(Wording::Podman, &outcome).code, exec, "{outcome:?}");
        }
    }

    #[test]
    fn only_a_program_that_never_ran_is_talked_about() {
        assert_eq!(verdict(Wording::Unshare, &Outcome::Exited(1)).message, None);
        let failure = Failure {
            step: FailedStep::Namespaces,
            errno: 1,
            message: "unshare failed: Operation not permitted".into(),
        };
        let told = verdict(Wording::Unshare, &Outcome::NotStarted(failure)).message;
        assert_eq!(told.unwrap(), "unshare: unshare failed: Operation not permitted");
    }

    #[test]
    fn an_end_for_lack_of_memory_is_told_as_such() {
        let told = |then| {
            let outcome = Outcome::OutOfMemory { limit: 256 << 20, then: Box::new(then) };
            let Verdict { code, message } = verdict(Wording::Podman, &outcome);
            (code, message.unwrap())
        };
        let end = "was ended by the kernel: out of its 256 MiB of memory (OOM)";
        let killed = Outcome::Signaled { signal: 9, core: false };
        assert_eq!(told(killed), (137, format!("Error: the program {end}")));
        let child = Outcome::Exited(3);
        assert_eq!(told(child), (3, format!("Error: a process of the program {end}")));
    }

    #[test]
    fn a_message_cannot_drive_the_terminal() {
        assert_eq!(Wording::Podman.line("a\x1b[2J\nb"), "Error: a\u{fffd}[2J\u{fffd}b");
    }
}
