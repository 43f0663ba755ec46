//! `nsvm machine start`

use std::time::Duration;

use crate::app::start::{StartRequest, start};
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{environment, interrupt};
use crate::machine::event::Progress;

/// Start a machine and wait until it can be used
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine start work")]
pub struct StartArgs {
    #[command(flatten)]
    which: super::Which,
    /// Seconds the start may take [default: 120, or 300 without acceleration]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: Option<u64>,
    /// Print only the result
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(args: &StartArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let interrupted = interrupt::flag();
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let printer = Printer::new(verbosity);
    let name = &args.which.name;
    (&printer as &dyn Progress).step(format!("Starting machine \"{name}\""));
    let request = StartRequest { timeout: args.timeout.map(Duration::from_secs) };
    start(&context, name, request, &printer, &interrupted)?;
    println!("Machine \"{name}\" started successfully");
    Ok(0)
}
