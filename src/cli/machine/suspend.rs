//! `nsvm machine suspend`

use crate::app::suspend::suspend;
use crate::cli::environment;
use crate::cli::printer::{Printer, Verbosity};
use crate::machine::suspended::Reason;

/// Save a machine's memory to a file and end its VM
///
/// `start` goes on where it was: the same boot, the same processes. Commands
/// that are connected to it lose it. The file has all that was in the guest's
/// memory, and only its owner may read it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine suspend work && nsvm machine start work")]
pub struct SuspendArgs {
    #[command(flatten)]
    which: super::Which,
}

pub fn run(args: &SuspendArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let printer = Printer::new(Verbosity::Normal);
    let name = &args.which.name(&context);
    suspend(&context, name, Reason::Asked, &printer)?;
    outln!("Machine \"{name}\" suspended successfully");
    Ok(0)
}
