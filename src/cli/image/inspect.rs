//! `nsvm image inspect`

use crate::app::image::inspect::inspect;
use crate::cli::namespace::verdict::OURS;
use crate::cli::{environment, report};

/// Show everything about base images in the cache, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm image inspect debian-local | jq -r '.[0].Path.Path'")]
pub struct InspectArgs {
    /// Names, or digests or their first digits [default: all images]
    #[arg(value_name = "NAME|DIGEST")]
    images: Vec<String>,
}

pub fn run(args: &InspectArgs) -> anyhow::Result<u8> {
    let (found, failed) = inspect(&environment::context()?, &args.images)?;
    let code = if failed.is_empty() { 0 } else { OURS };
    for error in failed {
        report::error(&error.into());
    }
    outln!("{}", serde_json::to_string_pretty(&found)?);
    Ok(code)
}
