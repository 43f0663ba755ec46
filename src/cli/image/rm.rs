//! `nsvm image rm`

use crate::app::image::remove::{Removed, remove};
use crate::cli::namespace::verdict::OURS;
use crate::cli::{environment, report};
use crate::image::ImageError;
use crate::machine::units::human_bytes;

/// Remove base images that no machine uses
///
/// An image with several names loses only the one that is given; by its digest
/// it goes with all of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm image rm debian:12")]
pub struct RmArgs {
    /// Names, or digests or their first digits
    #[arg(value_name = "NAME|DIGEST", required = true)]
    images: Vec<String>,
    /// Do not complain about images that are not there
    #[arg(short, long)]
    force: bool,
}

pub fn run(args: &RmArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let mut code = 0;
    for text in &args.images {
        match remove(&context, text) {
            Ok(Removed::Name { name, left }) => {
                outln!("Untagged: {name}");
                report::note(&format!("The image is kept as {}", left.join(", ")));
            }
            Ok(Removed::Image { sha256, bytes }) => {
                outln!("Deleted: {sha256}");
                report::note(&format!("Freed {}", human_bytes(bytes)));
            }
            Err(e) if args.force && is_missing(&e) => {}
            Err(e) => {
                report::error(&e);
                code = OURS;
            }
        }
    }
    Ok(code)
}

fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ImageError::NotInCache(_)))
}
