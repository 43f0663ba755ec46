//! `nsvm image pull`

use super::options::ImageOptions;
use crate::app::init::prepare_image;
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{environment, interrupt};

/// Get an image into the cache, verified
///
/// Downloads it, or builds it where its recipe is nsvm's own. An image that is
/// in the cache already is left alone. Prints the path of the base image.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm image pull debian-local")]
pub struct PullArgs {
    /// A name that `nsvm image search` lists, the path of a disk image, a URL,
    /// or docker://HOST/REPOSITORY:TAG
    image: String,
    #[command(flatten)]
    options: ImageOptions,
    /// Print only the result
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(args: PullArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let interrupted = interrupt::flag();
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let request = args.options.request(Some(args.image), &context);
    let prepared = prepare_image(&context, &request, &Printer::new(verbosity), &interrupted)?;
    outln!("{}", prepared.base.display());
    Ok(0)
}
