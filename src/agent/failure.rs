//! Failures in the words that util-linux prints.

use std::io;

use crate::protocol::outcome::{FailedStep, Failure};

/// The C library's sentence for an error, without Rust's `(os error N)`.
pub fn text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// `what: sentence`, for a system call that failed.
pub fn failed(step: FailedStep, what: impl AsRef<str>, error: &io::Error) -> Failure {
    let message = shortened(&format!("{}: {}", what.as_ref(), text(error)));
    Failure { step, errno: error.raw_os_error().unwrap_or(0), message }
}

/// A refusal without a system call.
pub fn refused(step: FailedStep, message: impl Into<String>) -> Failure {
    Failure { step, errno: 0, message: shortened(&message.into()) }
}

/// A name in a message can be as long as a request.
fn shortened(message: &str) -> String {
    /// Characters, so at most 8 KiB: a fraction of what a frame holds.
    const MOST: usize = 2000;
    let count = message.chars().count();
    if count <= MOST {
        return message.to_owned();
    }
    let start: String = message.chars().take(MOST / 2).collect();
    let end: String = message.chars().skip(count - MOST / 2).collect();
    format!("{start}...{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_err_3_prints_it() {
        let error = io::Error::from_raw_os_error(1);
        let failure = failed(FailedStep::Namespaces, "unshare failed", &error);
        assert_eq!(failure.message, "unshare failed: Operation not permitted");
        assert_eq!(failure.errno, 1);
    }

    #[test]
    fn a_long_name_is_shortened_in_the_middle() {
        let error = io::Error::from_raw_os_error(2);
        let failure = failed(FailedStep::Exec, "\u{e4}".repeat(1 << 20), &error);
        assert!(failure.message.len() < 8 * 1024, "{}", failure.message.len());
        assert!(failure.message.ends_with("No such file or directory"));
        assert!(failure.message.starts_with('\u{e4}'));
    }
}
