//! `nsvm machine reset`

use crate::app::reset::{plan, reset};
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{ask, environment, report};

/// Delete every machine and what belongs to them
///
/// Images go too, unless another user or home shares them. Your config file
/// stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine reset --force")]
pub struct ResetArgs {
    /// Do not ask, and end running machines
    #[arg(short, long)]
    force: bool,
    /// Answer yes to the question
    #[arg(short, long)]
    yes: bool,
}

pub fn run(args: &ResetArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let plan = plan(&context)?;
    if !args.force && !args.yes {
        report::note("The following machines and directories will be deleted:\n");
        for name in &plan.machines {
            report::note(name.as_str());
        }
        for dir in &plan.directories {
            report::note(&dir.display().to_string());
        }
        report::note("images that no other machine uses");
        if !ask::confirmed()? {
            return Ok(0);
        }
    }
    reset(&context, &plan, &Printer::new(Verbosity::Quiet))?;
    Ok(0)
}
