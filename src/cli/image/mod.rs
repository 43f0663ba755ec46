//! `nsvm image ...`: the cache of base images.

pub mod options;
mod pull;

use clap::{Args, Subcommand};

/// Manage the cache of base images
#[derive(Debug, Args)]
pub struct ImageArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Pull(pull::PullArgs),
}

pub fn run(args: ImageArgs) -> anyhow::Result<u8> {
    match args.verb {
        Verb::Pull(args) => pull::run(args),
    }
}
