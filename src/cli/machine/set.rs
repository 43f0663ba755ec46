//! `nsvm machine set`

use crate::app::set::{SetRequest, set};
use crate::cli::environment;
use crate::cli::printer::{Printer, Verbosity};
use crate::machine::units::{GiB, MiB};

/// Change a stopped machine
///
/// What is not named stays; either everything is changed or nothing. The guest
/// sees it at its next start.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine set --cpus 2 --memory 4096 work")]
#[command(override_usage = "nsvm machine set [OPTIONS] [NAME]")]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub struct SetArgs {
    #[command(flatten)]
    which: super::Which,
    /// Number of CPUs
    #[arg(long, group = "change")]
    cpus: Option<u32>,
    /// Memory in MiB
    #[arg(short, long, value_name = "MiB", group = "change")]
    memory: Option<u64>,
    /// Size of the disk in GiB; it can only grow
    #[arg(long, value_name = "GiB", group = "change")]
    disk_size: Option<u64>,
    /// Whether root is the user that commands run as
    #[arg(long, group = "change", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rootful: Option<bool>,
}

pub fn run(args: &SetArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let request = SetRequest {
        cpus: args.cpus,
        memory: args.memory.map(MiB),
        disk_size: args.disk_size.map(GiB),
        rootful: args.rootful,
    };
    set(&context, &args.which.name, request, &Printer::new(Verbosity::Normal))?;
    Ok(0)
}
