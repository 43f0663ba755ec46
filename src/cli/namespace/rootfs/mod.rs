//! `nsvm rootfs ...`: what a machine keeps for `nsvm run`, one file a verb.

mod list;
mod prune;
mod rm;

use clap::Subcommand;

use super::verdict::{Wording, verdict};
use crate::app::rootfs::kept;
use crate::cli::environment::{self, Target};
use crate::cli::report;
use crate::namespace::rootfs::{Kept, RootFsAnswer, RootFsVerb};

#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Rm(rm::RmArgs),
    Prune(prune::PruneArgs),
}

pub fn run(target: &Target, verb: &Verb) -> anyhow::Result<u8> {
    match verb {
        Verb::List(args) => list::run(target, args),
        Verb::Rm(args) => rm::run(target, args),
        Verb::Prune(args) => prune::run(target, args),
    }
}

/// What the agent answers; an error is the code of what was printed.
fn ask(target: &Target, verb: RootFsVerb) -> anyhow::Result<Result<RootFsAnswer, u8>> {
    let answered = kept::ask(&environment::place(target)?, verb)?;
    Ok(answered.map_err(|outcome| {
        let verdict = verdict(Wording::Podman, &outcome);
        verdict.message.iter().for_each(|message| report::note(message));
        verdict.code
    }))
}

/// Why some were not removed.
fn complain(failures: &[String]) {
    for failure in failures {
        report::note(&Wording::Podman.line(failure));
    }
}

/// As people tell them apart: digests by their first digits.
fn short(kept: &Kept) -> &str {
    use crate::namespace::rootfs::KeptKind::Sent;
    if kept.kind == Sent { kept.name.get(..12).unwrap_or(&kept.name) } else { &kept.name }
}
