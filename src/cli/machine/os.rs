//! `nsvm machine os apply` and `upgrade`

use clap::{Args, Subcommand};

use crate::app::os::{OsChange, change, restart};
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{environment, interrupt, report};

/// Change the operating system of a machine that boots from an image as a
/// whole, such as Fedora CoreOS
#[derive(Debug, Args)]
pub struct OsArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Apply(ApplyArgs),
    Upgrade(UpgradeArgs),
}

/// Take another image of a registry as the operating system
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nsvm machine os apply --restart quay.io/podman/machine-os:5.6 work"
)]
struct ApplyArgs {
    /// Restart the machine, so that it counts now
    #[arg(long)]
    restart: bool,
    /// The image, such as quay.io/podman/machine-os:5.6
    #[arg(value_name = "IMAGE")]
    image: String,
    #[command(flatten)]
    which: super::Which,
}

/// Upgrade the operating system to the newest of its image
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nsvm machine os upgrade work")]
struct UpgradeArgs {
    /// Restart the machine, so that it counts now
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    which: super::Which,
}

pub fn run(args: OsArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let (which, wanted, now) = match args.verb {
        Verb::Apply(args) => (args.which, OsChange::Apply(args.image), args.restart),
        Verb::Upgrade(args) => (args.which, OsChange::Upgrade, args.restart),
    };
    let name = which.name(&context);
    change(&context, &name, &wanted)?;
    if now {
        restart(&context, &name, &Printer::new(Verbosity::Normal), &interrupt::flag())?;
        outln!("Machine \"{name}\" restarted successfully");
    } else {
        report::note(&format!("It counts after `nsvm machine restart {name}`"));
    }
    Ok(0)
}
