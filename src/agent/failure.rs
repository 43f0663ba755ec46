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
    let message = format!("{}: {}", what.as_ref(), text(error));
    Failure { step, errno: error.raw_os_error().unwrap_or(0), message }
}

/// A refusal without a system call.
pub fn refused(step: FailedStep, message: impl Into<String>) -> Failure {
    Failure { step, errno: 0, message: message.into() }
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
}
