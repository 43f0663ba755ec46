//! `nsvm ns rm`

use super::super::identity::IdentityArgs;
use super::{ask, code};
use crate::cli::environment::Target;
use crate::namespace::named::Name;
use crate::protocol::request::NamedVerb;

/// Remove named namespaces, and end the programs in them
///
/// They get SIGTERM and two seconds, then SIGKILL.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  nsvm ns rm web")]
pub struct RmArgs {
    /// SIGKILL at once, and it is no error when there is none of that name
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Their names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<Name>,
}

pub fn run(target: &Target, args: &RmArgs) -> anyhow::Result<u8> {
    let mut done = true;
    for name in &args.names {
        let verb = NamedVerb::Remove { name: name.clone(), force: args.force };
        if ask(target, &args.identity, verb)?.is_some() {
            outln!("{name}");
        } else {
            done = false;
        }
    }
    Ok(code(done))
}
