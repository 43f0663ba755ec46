//! Errors for people: what, why, and the way out.

use std::io::{self, IsTerminal, Write};

use super::template::Failure;
use crate::app::Refusal;
use crate::image::ImageError;
use crate::link::LinkError;
use crate::settings::SettingsError;
use crate::store::StoreError;

/// Prints `Error: ...` with the chain of causes, then the hint.
pub fn error(error: &anyhow::Error) {
    marked(ERROR, "Error:", &chain(error));
    if let Some(hint) = hint(error) {
        marked(HINT, "Hint:", &sentence(&hint));
    }
}

/// The chain of causes, each said once: many errors name their cause themselves.
fn chain(error: &anyhow::Error) -> String {
    let causes = error.chain().map(ToString::to_string);
    let joined = |text: String, cause: String| {
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    };
    causes.reduce(joined).unwrap_or_default()
}

/// A usage error, in podman's form.
pub fn usage(error: &clap::Error) {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    marked(ERROR, "Error:", text.trim_end());
}

/// The help of a command that wants another word, and that it does.
pub fn no_verb(error: &clap::Error) {
    let help = error.render();
    let _ = writeln!(anstream::stderr(), "{}", help.ansi());
    let text = help.to_string();
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or_default();
    let words = usage.split(' ').take_while(|word| !word.starts_with(['[', '<']));
    let named = words.collect::<Vec<_>>().join(" ");
    marked(ERROR, "Error:", &format!("missing command `{named} COMMAND`"));
}

/// Bold red, and bold (ECMA-48 SGR).
const ERROR: &str = "\x1b[1;31m";
const HINT: &str = "\x1b[1m";

/// A line with a coloured mark; the text, which may quote others, is only text.
fn marked(style: &str, mark: &str, text: &str) {
    let stderr = io::stderr();
    let coloured = anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
    let (on, off) = if coloured { (style, "\x1b[0m") } else { ("", "") };
    let _ = writeln!(anstream::stderr(), "{on}{mark}{off} {text}");
}

/// A line on stderr; a closed stderr is nobody's problem.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The same while a program has the terminal, which may be raw: then a new line
/// does not begin at the left by itself.
pub fn aside(text: &str) {
    let end = if io::stderr().is_terminal() { "\r\n" } else { "\n" };
    let _ = write!(io::stderr(), "{text}{end}");
}

fn sentence(hint: &str) -> String {
    let end = if hint.ends_with(['.', '!', '?', '"', ')']) { "" } else { "." };
    format!("{hint}{end}")
}

/// The first hint in the chain of causes.
fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return refusal.hint.clone();
        }
        if let Some(error) = cause.downcast_ref::<StoreError>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<ImageError>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<LinkError>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<SettingsError>() {
            return Some(error.hint());
        }
        if let Some(error) = cause.downcast_ref::<Failure>() {
            return Some(error.hint());
        }
        let io = cause.downcast_ref::<io::Error>()?;
        match io.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Some("Make that place writable, or set NSVM_HOME to one that is".into())
            }
            io::ErrorKind::StorageFull => Some("Free some space on that file system".into()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_hint_is_found_below_contexts() {
        let refusal = Refusal::new("no").hint("Do that");
        let error = Err::<(), _>(anyhow::Error::from(refusal)).context("trying").unwrap_err();
        assert_eq!(hint(&error).as_deref(), Some("Do that"));
        assert_eq!(chain(&error), "trying: no");
    }

    #[test]
    fn a_cause_that_was_said_is_not_said_again() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read \"x\": {source}")]
        struct Unread {
            source: io::Error,
        }
        let source = io::Error::other("torn");
        let error = anyhow::Error::from(Unread { source }).context("looking");
        assert_eq!(chain(&error), "looking: cannot read \"x\": torn");
    }
}
