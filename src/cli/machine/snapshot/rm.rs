//! `nsvm machine snapshot rm`

use crate::app::snapshot::remove;
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{ask, environment, report};

/// Delete a snapshot
///
/// The present and other snapshots stay as they are; what came of it is no less
/// whole.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine snapshot rm --force work before-upgrade")]
#[command(override_usage = "nsvm machine snapshot rm [OPTIONS] [NAME] SNAPSHOT")]
pub struct RmArgs {
    #[command(flatten)]
    which: super::Which,
    /// Do not ask
    #[arg(short, long, visible_short_alias = 'y', visible_alias = "yes")]
    force: bool,
}

pub fn run(args: &RmArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let (name, snapshot) = args.which.resolve(&context)?;
    if !args.force {
        report::note(&format!(
            "The snapshot \"{snapshot}\" of machine \"{name}\" will be deleted."
        ));
        if !ask::confirmed()? {
            return Ok(0);
        }
    }
    remove(&context, &name, &snapshot, &Printer::new(Verbosity::Normal))?;
    Ok(0)
}
