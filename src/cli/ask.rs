//! Questions before something is deleted.

use std::io::{self, BufRead, Write};

/// Asks on stderr; whatever is no yes, an end of stdin too, is a no.
pub fn confirmed() -> io::Result<bool> {
    let mut out = io::stderr();
    write!(out, "\nAre you sure you want to continue? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
