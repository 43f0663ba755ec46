//! `nsvm machine restart`

use std::time::Duration;

use crate::app::start::{StartRequest, start};
use crate::app::stop::{PATIENCE, StopRequest, stop};
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{environment, interrupt};
use crate::machine::event::Progress;

/// Shut a machine down and start it again
///
/// One that is stopped is started.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine restart work")]
pub struct RestartArgs {
    #[command(flatten)]
    which: super::Which,
    /// Seconds the guest may take to shut down
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE.as_secs())]
    timeout: u64,
    /// Print only the result
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(args: &RestartArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let interrupted = interrupt::flag();
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let printer = Printer::new(verbosity);
    let name = &args.which.name(&context);
    let request =
        StopRequest { force: false, timeout: Duration::from_secs(args.timeout.min(86400)) };
    stop(&context, name, request, &printer)?;
    (&printer as &dyn Progress).step(format!("Starting machine \"{name}\""));
    start(&context, name, StartRequest::default(), &printer, &interrupted)?;
    outln!("Machine \"{name}\" restarted successfully");
    Ok(0)
}
