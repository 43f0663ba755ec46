//! `nsvm machine rename`

use crate::app::rename::rename;
use crate::cli::environment;
use crate::cli::printer::{Printer, Verbosity};
use crate::machine::name::MachineName;

/// Give a stopped machine another name
///
/// Its guest has the new host name from the next start on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine rename work play")]
pub struct RenameArgs {
    /// The machine
    #[arg(value_name = "NAME")]
    name: MachineName,
    /// Its new name
    #[arg(value_name = "NEW")]
    new: MachineName,
}

pub fn run(args: &RenameArgs) -> anyhow::Result<u8> {
    let printer = Printer::new(Verbosity::Normal);
    rename(&environment::context()?, &args.name, &args.new, &printer)?;
    Ok(0)
}
