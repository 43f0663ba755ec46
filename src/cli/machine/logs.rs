//! `nsvm machine logs`

use crate::app::logs::{Log, copy, path};
use crate::cli::environment;
use crate::cli::out::Stdout;

/// Show a machine's serial console or its supervisor's log
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine logs --follow work")]
pub struct LogsArgs {
    #[command(flatten)]
    which: super::Which,
    /// Go on with what comes, until the machine is removed
    #[arg(short, long)]
    follow: bool,
    /// The guest's serial console (the default)
    #[arg(long, conflicts_with = "supervisor")]
    serial: bool,
    /// The log of the machine's supervisor
    #[arg(long)]
    supervisor: bool,
}

pub fn run(args: &LogsArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let log = if args.supervisor { Log::Supervisor } else { Log::Serial };
    let name = args.which.name(&context);
    let path = path(&context, &name, log)?;
    copy(&path, || args.follow && context.store.exists(&name), &mut Stdout)?;
    Ok(0)
}
