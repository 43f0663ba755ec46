//! `nsvm image pull`

use crate::app::init::prepare_image;
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{environment, interrupt};
use crate::machine::config::Arch;

/// Get an image into the cache, verified
///
/// Downloads it, or builds it where its recipe is nsvm's own. An image that is
/// in the cache already is left alone. Prints the path of the base image.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm image pull debian-local")]
pub struct PullArgs {
    /// A known image, the path of a disk image, or a URL
    image: String,
    /// SHA-256 that the image must have (needed for a URL)
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Architecture of the guest: x86_64 or aarch64 [default: the host's]
    #[arg(long)]
    arch: Option<Arch>,
    /// Print only the result
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(args: &PullArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let interrupted = interrupt::flag();
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let wanted = crate::image::Wanted {
        source: &args.image,
        sha256: args.sha256.as_deref(),
        arch: args.arch.unwrap_or_else(Arch::host),
    };
    let prepared = prepare_image(&context, &wanted, &Printer::new(verbosity), &interrupted)?;
    println!("{}", prepared.base.display());
    Ok(0)
}
