//! `nsvm image verify`

use crate::app::image::verify::verify;
use crate::cli::namespace::verdict::OURS;
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{environment, interrupt, report};

/// Check that base images are still what their names say
///
/// Reads each image whole and compares its SHA-256 with its name.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm image verify")]
pub struct VerifyArgs {
    /// Names, or digests or their first digits [default: all images]
    #[arg(value_name = "NAME|DIGEST")]
    images: Vec<String>,
    /// Print only what is damaged
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(args: &VerifyArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let interrupted = interrupt::flag();
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let printer = Printer::new(verbosity);
    let (verdicts, failed) = verify(&context, &args.images, &printer, &interrupted)?;
    let sound = verdicts.iter().all(|verdict| verdict.problem.is_none());
    let code = if sound && failed.is_empty() { 0 } else { OURS };
    for error in failed {
        report::error(&error.into());
    }
    for verdict in verdicts {
        match verdict.problem {
            Some(problem) => report::error(&problem.into()),
            None if args.quiet => {}
            None => outln!("{} {}", verdict.base.sha256, verdict.base.names().join(", ")),
        }
    }
    Ok(code)
}
