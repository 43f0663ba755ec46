//! Questions before something is deleted.

use std::io::{self, BufRead, Write};

use crate::app::Refusal;

/// Asks on stderr; whatever is no yes is a no. An end of stdin is no answer,
/// and an error: a script shall not take it for done (so it is podman's).
pub fn confirmed() -> anyhow::Result<bool> {
    let mut out = io::stderr();
    write!(out, "\nAre you sure you want to continue? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        // Nobody has ended the line of the question.
        writeln!(out)?;
        let refusal = Refusal::new("nobody answered, so nothing was deleted");
        return Err(refusal.hint("Answer y or n, or give --yes").into());
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
