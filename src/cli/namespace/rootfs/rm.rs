//! `nsvm rootfs rm`

use super::{ask, complain};
use crate::cli::environment::Target;
use crate::cli::namespace::verdict::OURS;
use crate::namespace::rootfs::RootFsVerb;

/// Remove root file systems that are kept
///
/// What was changed under a name is lost; what was sent is sent again by the
/// next run that needs it.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  nsvm rootfs rm web")]
pub struct RmArgs {
    /// Also what a named one was made from, which cannot run without it; and it
    /// is no error when there is none
    #[arg(short, long)]
    force: bool,
    /// Names, or digests or their first digits
    #[arg(value_name = "NAME|DIGEST", required = true)]
    names: Vec<String>,
}

pub fn run(target: &Target, args: &RmArgs) -> anyhow::Result<u8> {
    let verb = RootFsVerb::Remove { names: args.names.clone(), force: args.force };
    let answer = match ask(target, verb)? {
        Ok(answer) => answer,
        Err(code) => return Ok(code),
    };
    for kept in &answer.kept {
        outln!("{}", kept.name);
    }
    complain(&answer.failures);
    Ok(if answer.failures.is_empty() { 0 } else { OURS })
}
