//! The hidden verb behind every running machine.

use std::time::Duration;

use crate::machine::name::MachineName;
use crate::supervisor;

/// Supervise one run of a machine (started by nsvm itself)
#[derive(Debug, clap::Args)]
pub struct SuperviseArgs {
    name: MachineName,
    /// Seconds the start may take
    #[arg(long)]
    timeout: Option<u64>,
}

pub fn run(args: &SuperviseArgs) -> anyhow::Result<u8> {
    crate::host::close_inherited_files();
    log_to_stderr();
    let context = super::environment::context()?;
    supervisor::supervise(&context, &args.name, args.timeout.map(Duration::from_secs))?;
    Ok(0)
}

/// Stderr is the supervisor's log file.
fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("NSVM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
