//! `nsvm machine snapshot restore`

use jiff::Timestamp;

use crate::app::snapshot::{Present, find, restore};
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{ask, environment, report};
use crate::machine::snapshot::SnapshotName;
use crate::machine::status::Status;

/// Put a machine back to a snapshot
///
/// Its present state is kept as another snapshot, or lost: one of the two must
/// be said, or is asked. One that runs goes on from the snapshot.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine snapshot restore --keep=now work before-upgrade")]
#[command(override_usage = "nsvm machine snapshot restore [OPTIONS] [NAME] SNAPSHOT")]
pub struct RestoreArgs {
    /// Keep the present as a snapshot of this name [default: one with the time]
    #[arg(long, value_name = "SNAPSHOT", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "", conflicts_with = "discard")]
    keep: Option<String>,
    /// The present is lost
    #[arg(long)]
    discard: bool,
    /// Answer yes to the question: the present is kept
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    which: super::Which,
}

pub fn run(args: &RestoreArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let (name, snapshot) = args.which.resolve(&context)?;
    find(&context, &name, &snapshot)?;
    let keeps = match (&args.keep, args.discard) {
        (Some(_), _) => true,
        (None, true) => false,
        (None, false) => {
            args.yes || {
                report::note(&format!("The present state of machine \"{name}\" can be kept."));
                ask::kept()?
            }
        }
    };
    let present = match args.keep.as_deref() {
        Some(kept) if !kept.is_empty() => Present::Keep(kept.parse()?),
        _ if keeps => Present::Keep(named_by_time()?),
        _ => Present::Discard,
    };
    restore(&context, &name, &snapshot, &present, &Printer::new(Verbosity::Normal))?;
    if let Present::Keep(kept) = present {
        report::note(&format!("What was is the snapshot \"{kept}\""));
    }
    outln!("Machine \"{name}\" is at snapshot \"{snapshot}\"");
    if context.store.status(&name) == Status::Suspended {
        report::note(&format!("To go on from there: nsvm machine start {name}"));
    }
    Ok(0)
}

fn named_by_time() -> anyhow::Result<SnapshotName> {
    Ok(Timestamp::now().strftime("before-%Y%m%dT%H%M%SZ").to_string().parse()?)
}
