//! `nsvm image prune`

use crate::app::image::prune::{Plan, plan};
use crate::cli::namespace::verdict::OURS;
use crate::cli::{ask, environment, report};
use crate::machine::units::human_bytes;

/// Remove from the cache what no machine uses
///
/// Base images, what killed commands left, and downloads that were given up a
/// week ago. Imported images stay, unless --all is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm image prune --force")]
pub struct PruneArgs {
    /// Also imported images, unfinished downloads, packages of builds and
    /// templates
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Answer yes to the question
    #[arg(short, long)]
    yes: bool,
}

pub fn run(args: &PruneArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let plan = plan(&context, args.all)?;
    for error in &plan.unreadable {
        report::note(&format!("Warning: no base image is removed: {error}"));
    }
    if plan.is_empty() {
        report::note("There is nothing to remove");
        return Ok(0);
    }
    if !args.force && !args.yes {
        show(&plan);
        if !ask::confirmed()? {
            return Ok(0);
        }
    }
    let (freed, failed) = plan.carry_out(&context);
    let code = if failed.is_empty() { 0 } else { OURS };
    for error in &failed {
        report::error(error);
    }
    outln!("Total reclaimed space: {}", human_bytes(freed));
    Ok(code)
}

fn show(plan: &Plan) {
    report::note("The following will be deleted:\n");
    for base in &plan.bases {
        let names = base.names().join(", ");
        report::note(&format!("{} {names} ({})", base.path.display(), human_bytes(base.allocated)));
    }
    for left in &plan.left_overs {
        report::note(&format!("{} ({})", left.path.display(), human_bytes(left.bytes)));
    }
    report::note(&format!("\nThat frees {}.", human_bytes(plan.bytes())));
}
