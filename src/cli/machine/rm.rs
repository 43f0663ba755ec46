//! `nsvm machine rm`

use crate::app::remove::{RemoveRequest, plan, remove};
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{ask, environment, report};

/// Delete a machine and everything of it
///
/// The base image stays in the cache.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine rm --force work")]
pub struct RmArgs {
    #[command(flatten)]
    which: super::Which,
    /// Do not ask, and end the machine first when it runs
    #[arg(short, long)]
    force: bool,
    /// Keep what Ignition was given, and say where
    #[arg(long)]
    save_ignition: bool,
    /// Keep its disk, and say where; it goes on needing its base image
    #[arg(long)]
    save_image: bool,
    /// Answer yes to the question
    #[arg(short, long)]
    yes: bool,
}

pub fn run(args: &RmArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let name = &args.which.name(&context);
    let request = RemoveRequest {
        force: args.force,
        save_ignition: args.save_ignition,
        save_image: args.save_image,
    };
    let plan = plan(&context, name, request)?;
    if !args.force && !args.yes {
        report::note("The following files will be deleted:\n");
        for file in plan.files {
            report::note(&file.display().to_string());
        }
        for connection in plan.connections {
            report::note(&connection);
        }
        if !ask::confirmed()? {
            return Ok(0);
        }
    }
    for saved in remove(&context, name, request, &Printer::new(Verbosity::Quiet))? {
        report::note(&format!("Saved \"{}\"", saved.display()));
    }
    Ok(0)
}
