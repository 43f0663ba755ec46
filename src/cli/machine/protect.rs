//! `nsvm machine protect` and `unprotect`

use crate::app::protect::protect;
use crate::cli::environment;
use crate::machine::name::MachineName;

/// Refuse to remove machines, also with --force
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine protect work")]
pub struct ProtectArgs {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<MachineName>,
}

/// Allow protected machines to be removed again
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine unprotect work")]
pub struct UnprotectArgs {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<MachineName>,
}

pub fn run(args: &ProtectArgs) -> anyhow::Result<u8> {
    protect(&environment::context()?, &args.names, true)?;
    Ok(0)
}

pub fn undo(args: &UnprotectArgs) -> anyhow::Result<u8> {
    protect(&environment::context()?, &args.names, false)?;
    Ok(0)
}
