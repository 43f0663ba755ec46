//! What goes to stdout. A reader that has gone ends this program as SIGPIPE ends
//! others; anything else that goes wrong there is an error, and never a result
//! that is only half there.

use std::fmt;
use std::io::{self, Write};
use std::process::exit;

use anyhow::anyhow;

use super::namespace::verdict::OURS;
use super::report;

/// 128 + SIGPIPE, as shells have it.
const NOBODY_READS: i32 = 141;

/// Standard output. Writing to it does not fail: it ends the program.
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if let Err(e) = out.write_all(bytes).and_then(|()| out.flush()) {
            end(e);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn end(error: io::Error) -> ! {
    if error.kind() == io::ErrorKind::BrokenPipe {
        exit(NOBODY_READS);
    }
    report::error(&anyhow!(error).context("writing to standard output"));
    exit(OURS.into())
}

/// As `print!`, whole or not at all.
pub fn print(text: fmt::Arguments<'_>) {
    // Cannot fail.
    let _ = Stdout.write_all(text.to_string().as_bytes());
}

/// `print!` of this program.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::out::print(format_args!($($text)*)) };
}

/// `println!` of this program.
macro_rules! outln {
    ($($text:tt)*) => { $crate::cli::out::print(format_args!("{}\n", format_args!($($text)*))) };
}
