//! `nsvm machine set`

use super::podman::SetOptions;
use crate::app::set::{SetRequest, set};
use crate::app::sharing::Sharing;
use crate::cli::environment;
use crate::cli::printer::{Printer, Verbosity};
use crate::machine::idle::IdleTime;
use crate::machine::units::{GiB, MiB};

/// Change a stopped machine
///
/// What is not named stays; either everything is changed or nothing. The guest
/// sees it at its next start.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine set --cpus 2 --memory 4096 work")]
pub struct SetArgs {
    #[command(flatten)]
    which: super::Which,
    /// Number of CPUs
    #[arg(long)]
    cpus: Option<u32>,
    /// Memory in MiB
    #[arg(short, long, value_name = "MiB")]
    memory: Option<u64>,
    /// Size of the disk in GiB; it can only grow
    #[arg(long, value_name = "GiB")]
    disk_size: Option<u64>,
    /// Whether root is the user that commands run as
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rootful: Option<bool>,
    /// Time zone of the guest, such as Europe/Berlin, or local
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Directories of the host that it sees from now on (repeatable): these
    /// alone, none with ""
    #[arg(short, long, value_name = "SRC[:DST[:ro|rw]]")]
    volume: Vec<String>,
    /// Ports of the guest on 127.0.0.1 from now on (repeatable): these alone,
    /// none with ""
    #[arg(short, long, value_name = "HOST:GUEST")]
    publish: Vec<String>,
    /// Suspend it when nothing has used it for so long, such as 10m, or off;
    /// alone also for a machine that runs
    #[arg(long, value_name = "TIME")]
    idle_suspend: Option<IdleTime>,
    #[command(flatten)]
    of_podman: SetOptions,
}

pub fn run(args: &SetArgs) -> anyhow::Result<u8> {
    args.of_podman.check()?;
    let context = environment::context()?;
    let request = SetRequest {
        cpus: args.cpus,
        memory: args.memory.map(MiB),
        disk_size: args.disk_size.map(GiB),
        rootful: args.rootful,
        time_zone: args.timezone.clone(),
        idle_suspend: args.idle_suspend,
        sharing: Sharing { volumes: args.volume.clone(), ports: args.publish.clone() },
    };
    set(&context, &args.which.name(&context), &request, &Printer::new(Verbosity::Normal))?;
    Ok(0)
}
