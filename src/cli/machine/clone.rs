//! `nsvm machine clone`

use crate::app::clone::clone;
use crate::cli::environment;
use crate::cli::printer::{Printer, Verbosity};
use crate::machine::name::MachineName;

/// Copy a machine, with all that is on its disk
///
/// The copy has keys, machine-id and host name of its own, and no snapshots. A
/// machine that runs stands still for a moment, and goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine clone work experiment")]
pub struct CloneArgs {
    /// The machine
    #[arg(value_name = "NAME")]
    name: MachineName,
    /// The name of the copy
    #[arg(value_name = "NEW")]
    new: MachineName,
}

pub fn run(args: &CloneArgs) -> anyhow::Result<u8> {
    let printer = Printer::new(Verbosity::Normal);
    clone(&environment::context()?, &args.name, &args.new, &printer)?;
    Ok(0)
}
