//! `nsvm machine stop`

use std::time::Duration;

use crate::app::stop::{PATIENCE, StopRequest, stop};
use crate::app::suspend::suspend;
use crate::cli::environment;
use crate::cli::printer::{Printer, Verbosity};
use crate::machine::suspended::Reason;

/// Shut a machine down
///
/// The guest is asked and given time; after that its VM is ended. A machine
/// that is suspended stays so, unless --force gives that up.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine stop --timeout 10 work")]
pub struct StopArgs {
    #[command(flatten)]
    which: super::Which,
    /// Seconds the guest may take to shut down
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE.as_secs())]
    timeout: u64,
    /// End the VM at once, without asking the guest
    #[arg(long)]
    force: bool,
    /// Save its memory and end the VM, as `nsvm machine suspend` does
    #[arg(long, conflicts_with_all = ["force", "timeout"])]
    suspend: bool,
}

pub fn run(args: &StopArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let printer = Printer::new(Verbosity::Normal);
    let name = &args.which.name(&context);
    if args.suspend {
        suspend(&context, name, Reason::Asked, &printer)?;
        outln!("Machine \"{name}\" suspended successfully");
        return Ok(0);
    }
    let request =
        StopRequest { force: args.force, timeout: Duration::from_secs(args.timeout.min(86400)) };
    stop(&context, name, request, &printer)?;
    outln!("Machine \"{name}\" stopped successfully");
    Ok(0)
}
