//! What a new process tells the agent before the program runs in it, over a
//! pipe that the exec closes.
//!
//! Nobody waits for these reports: they are complete when the process ends.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use rmp_serde::Deserializer;
use serde::{Deserialize, Serialize};

use crate::protocol::outcome::Failure;

/// One report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// `--fork`: the program's own process, as the agent sees its number.
    Forked(u32),
    /// The program did not start.
    Failed(Failure),
}

/// Where a new process reports to.
#[derive(Debug, Clone, Copy)]
pub enum ReportTo<'a> {
    /// The agent, over this pipe.
    Agent(BorrowedFd<'a>),
    /// The user, who is the only one there: failures alone, by this function.
    User(fn(&Failure)),
}

impl ReportTo<'_> {
    /// Without a reader nobody wants to know.
    pub fn tell(self, report: &Report) {
        match (self, report) {
            (Self::Agent(pipe), _) => drop(rustix::io::write(pipe, &report.encode())),
            (Self::User(tell), Report::Failed(failure)) => tell(failure),
            (Self::User(_), Report::Forked(_)) => {}
        }
    }
}

/// What has been reported so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reports {
    pub forked: Option<u32>,
    /// The first failure: later ones follow from it.
    pub failure: Option<Failure>,
}

impl Report {
    /// The report as one write that a pipe does not split (pipe(7): up to
    /// 4096 bytes).
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = rmp_serde::to_vec_named(self).expect("plain fields serialize");
        if bytes.len() > 4000 {
            bytes = rmp_serde::to_vec_named(&self.shortened()).expect("plain fields serialize");
        }
        bytes
    }

    /// Names of files and users can be long; what failed comes first.
    fn shortened(&self) -> Self {
        match self {
            Self::Failed(failure) => {
                let message = failure.message.chars().take(900).collect();
                Self::Failed(Failure { message, ..failure.clone() })
            }
            Self::Forked(pid) => Self::Forked(*pid),
        }
    }
}

impl Reports {
    /// Reads what is there; stops at the end and where nothing more has come.
    pub fn read(mut pipe: impl Read) -> Self {
        let mut bytes = Vec::new();
        // An error here is EAGAIN: what was read before it is kept.
        let _: io::Result<usize> = pipe.read_to_end(&mut bytes);
        let (mut reports, mut rest) = (Self::default(), Deserializer::from_read_ref(&bytes));
        while let Ok(report) = Report::deserialize(&mut rest) {
            match report {
                Report::Forked(pid) => reports.forked = Some(pid),
                Report::Failed(failure) => {
                    reports.failure.get_or_insert(failure);
                }
            }
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::outcome::FailedStep;

    fn failure(message: &str) -> Failure {
        Failure { step: FailedStep::Namespaces, errno: 1, message: message.into() }
    }

    #[test]
    fn the_first_failure_counts() {
        let mut bytes = Report::Forked(70_000).encode();
        bytes.extend(Report::Failed(failure("first")).encode());
        bytes.extend(Report::Failed(failure("second")).encode());
        let reports = Reports::read(&bytes[..]);
        assert_eq!(reports, Reports { forked: Some(70_000), failure: Some(failure("first")) });
        assert_eq!(Reports::read(&[][..]), Reports::default());
    }

    #[test]
    fn a_report_always_fits_one_write() {
        let long = Report::Failed(failure(&"ä".repeat(10_000))).encode();
        assert!(long.len() <= 4096);
        assert!(Reports::read(&long[..]).failure.is_some());
    }
}
