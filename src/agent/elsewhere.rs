//! What there is of the guest agent on systems that are no guests.

use std::ffi::OsString;
use std::process::ExitCode;

/// Says that this is the wrong system.
pub fn main(_: impl Iterator<Item = OsString>) -> ExitCode {
    eprintln!("nsvm-agent: this program runs inside Linux machines only");
    ExitCode::FAILURE
}
