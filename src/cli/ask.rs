//! Questions before something is deleted.

use std::io::{self, BufRead, Write};

use crate::app::Refusal;

/// Asks whether something is kept: yes, unless the answer is a no.
pub fn kept() -> anyhow::Result<bool> {
    let refusal = Refusal::new("nobody answered, so nothing was changed");
    let answer = answer("Do you want to keep it? [Y/n] ")?
        .ok_or_else(|| refusal.hint("Answer y or n, or give --keep or --discard"))?;
    Ok(!matches!(answer.trim(), "n" | "N" | "no"))
}

/// Asks on stderr; whatever is no yes is a no. An end of stdin is no answer,
/// and an error: a script shall not take it for done (so it is podman's).
pub fn confirmed() -> anyhow::Result<bool> {
    let refusal = Refusal::new("nobody answered, so nothing was deleted");
    let answer = answer("Are you sure you want to continue? [y/N] ")?
        .ok_or_else(|| refusal.hint("Answer y or n, or give --yes"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// `None`: nobody answered.
fn answer(question: &str) -> io::Result<Option<String>> {
    let mut out = io::stderr();
    write!(out, "\n{question}")?;
    out.flush()?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        // Nobody has ended the line of the question.
        writeln!(out)?;
        return Ok(None);
    }
    Ok(Some(answer))
}
