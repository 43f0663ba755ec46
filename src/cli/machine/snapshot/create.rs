//! `nsvm machine snapshot create`

use crate::app::snapshot::create;
use crate::cli::environment;
use crate::cli::printer::{Printer, Verbosity};

/// Keep the state of a machine under a name
///
/// Of one that runs also its memory: it stands still for a moment, and goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine snapshot create work before-upgrade")]
#[command(override_usage = "nsvm machine snapshot create [NAME] SNAPSHOT")]
pub struct CreateArgs {
    #[command(flatten)]
    which: super::Which,
}

pub fn run(args: &CreateArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let (name, snapshot) = args.which.resolve(&context)?;
    create(&context, &name, &snapshot, &Printer::new(Verbosity::Normal))?;
    outln!("Snapshot \"{snapshot}\" of machine \"{name}\" created successfully");
    Ok(0)
}
