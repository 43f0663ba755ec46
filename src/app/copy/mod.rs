//! Files between this host and a machine, as a tar over the link: `tar` in the
//! guest, as the machine's user, at the other end.
//!
//! As cp(1) has it, what is copied to a directory goes into it, and anything
//! else gets the name of the target. Modes and times (to the second) are kept,
//! owners are those of whoever writes. A link that is named itself is
//! followed; links further down are copied as links.

mod download;
mod unpack;
mod upload;

use std::io;
use std::path::PathBuf;

use anyhow::anyhow;

use super::capture::Capture;
use super::session::Stdio;
use super::{Context, Place, Refusal, run};
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::protocol::outcome::Outcome;
use crate::protocol::request::ExecRequest;

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Host(PathBuf),
    /// A path from the user's home on, or from the root.
    Guest {
        machine: MachineName,
        path: String,
    },
}

/// What a guest says about a failure is a few lines.
const WORDS_MAX: usize = 16 * 1024;

/// Copies files or directories. Exactly one end is in a machine.
pub fn copy(
    context: &Context,
    from: &End,
    to: &End,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    match (from, to) {
        (End::Host(from), End::Guest { machine, path }) => {
            let guest = Guest::of(context, machine)?;
            upload::upload(&guest, from, path, progress)
        }
        (End::Guest { machine, path }, End::Host(to)) => {
            download::download(&Guest::of(context, machine)?, path, to, progress)
        }
        (End::Host(_), End::Host(_)) => Err(refused("neither of the two is in a machine")),
        (End::Guest { .. }, End::Guest { .. }) => Err(refused("both are in a machine")),
    }
}

fn refused(text: &str) -> anyhow::Error {
    let hint = "Write the one in a machine as NAME:PATH, and the other as a path of this host";
    Refusal::new(format!("cannot copy that: {text}")).hint(hint).into()
}

/// A machine whose user runs the other half.
struct Guest {
    place: Place,
    name: MachineName,
}

/// Sets `$t` to the path in the first argument: `~` is the user's home, and so
/// is nothing.
const TARGET: &str = r"t=${1:-.}; case $t in '~') t=$HOME;; '~/'*) t=$HOME/${t#??};; esac
";

impl Guest {
    fn of(context: &Context, name: &MachineName) -> anyhow::Result<Self> {
        context.store.load(name)?;
        let place = Place::Machine { context: Box::new(context.clone()), name: name.clone() };
        Ok(Self { place, name: name.clone() })
    }

    /// A shell script on these streams, its arguments exact. What it says on
    /// stderr is why it fails.
    fn script(
        &self,
        script: &str,
        arguments: &[&str],
        stdin: Box<dyn io::Read + Send>,
        stdout: Box<dyn io::Write + Send>,
    ) -> anyhow::Result<()> {
        let script = format!("{TARGET}{script}");
        let argv = ["sh", "-c", &script, "nsvm"].into_iter().chain(arguments.iter().copied());
        let words = Capture::up_to(WORDS_MAX);
        let stdio = Stdio { stdin, stdout, stderr: Box::new(words.clone()) };
        let outcome = run::run_on(&self.place, ExecRequest::new(argv), stdio)?;
        if outcome == Outcome::Exited(0) {
            return Ok(());
        }
        Err(self.failure(&outcome, &words.bytes().unwrap_or_default()))
    }

    /// The guest's words are a stranger's: no control characters of theirs.
    fn failure(&self, outcome: &Outcome, words: &[u8]) -> anyhow::Error {
        let text = String::from_utf8_lossy(words);
        let line = text.lines().find(|line| !line.trim().is_empty());
        let safe: String =
            line.unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect();
        if safe.is_empty() {
            return anyhow!("the copy in machine \"{}\" ended: {outcome:?}", self.name);
        }
        anyhow!("machine \"{}\": {safe}", self.name)
    }
}
