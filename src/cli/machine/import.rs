//! `nsvm machine import`

use std::path::PathBuf;

use crate::app::archive::import;
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{environment, interrupt};
use crate::machine::name::MachineName;

/// Make the machine that `export` wrote to a file
///
/// Each part is checked against its digest first. Volumes are not taken over:
/// they would be directories of this host.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine import work.nsvm other-name")]
pub struct ImportArgs {
    /// Print only the name
    #[arg(short, long)]
    quiet: bool,
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its name here [default: the name it had]
    #[arg(value_name = "NAME")]
    name: Option<MachineName>,
}

pub fn run(args: &ImportArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let interrupted = interrupt::flag();
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let printer = Printer::new(verbosity);
    let name = import(&context, &args.file, args.name.as_ref(), &printer, &interrupted)?;
    outln!("{name}");
    Ok(0)
}
