//! `nsvm machine export`

use std::path::PathBuf;

use crate::app::archive::export;
use crate::cli::environment;
use crate::cli::printer::{Printer, Verbosity};
use crate::machine::name::MachineName;

/// Write a stopped machine to one file, its base image included
///
/// The file (tar, zstd) holds the machine's private keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine export work work.nsvm")]
pub struct ExportArgs {
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// The machine
    #[arg(value_name = "NAME")]
    name: MachineName,
    /// A file that does not exist yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub fn run(args: &ExportArgs) -> anyhow::Result<u8> {
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    export(&environment::context()?, &args.name, &args.file, &Printer::new(verbosity))?;
    Ok(0)
}
