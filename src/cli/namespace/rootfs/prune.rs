//! `nsvm rootfs prune`

use super::{ask, complain, short};
use crate::cli::environment::Target;
use crate::cli::namespace::verdict::OURS;
use crate::cli::{ask as question, report};
use crate::machine::units::human_bytes;
use crate::namespace::rootfs::{Kept, RootFsVerb};

/// Remove what was sent and nothing needs any more
///
/// Named ones stay, and what they were made from.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  nsvm rootfs prune --force")]
pub struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Answer yes to the question
    #[arg(short, long)]
    yes: bool,
}

pub fn run(target: &Target, args: &PruneArgs) -> anyhow::Result<u8> {
    let all = match ask(target, RootFsVerb::List)? {
        Ok(answer) => answer.kept,
        Err(code) => return Ok(code),
    };
    let needless: Vec<Kept> = all.into_iter().filter(Kept::can_be_pruned).collect();
    if needless.is_empty() {
        report::note("There is nothing to remove");
        return Ok(0);
    }
    if !args.force && !args.yes {
        report::note("The following will be deleted:\n");
        for kept in &needless {
            report::note(&format!("{} ({})", short(kept), human_bytes(kept.size)));
        }
        if !question::confirmed()? {
            return Ok(0);
        }
    }
    let names = needless.into_iter().map(|kept| kept.name).collect();
    // What a run has begun to use meanwhile stays.
    let answer = match ask(target, RootFsVerb::Remove { names, force: false })? {
        Ok(answer) => answer,
        Err(code) => return Ok(code),
    };
    complain(&answer.failures);
    let freed = answer.kept.iter().map(|kept| kept.size).sum();
    outln!("Total reclaimed space: {}", human_bytes(freed));
    Ok(if answer.failures.is_empty() { 0 } else { OURS })
}
