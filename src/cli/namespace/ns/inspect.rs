//! `nsvm ns inspect`

use super::super::identity::IdentityArgs;
use super::{ask, code};
use crate::cli::environment::Target;
use crate::namespace::named::Name;
use crate::protocol::request::NamedVerb;

/// Show what is known of named namespaces, as JSON
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  nsvm ns inspect web")]
pub struct InspectArgs {
    #[command(flatten)]
    identity: IdentityArgs,
    /// Their names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<Name>,
}

pub fn run(target: &Target, args: &InspectArgs) -> anyhow::Result<u8> {
    let (mut all, mut done) = (Vec::new(), true);
    for name in &args.names {
        match ask(target, &args.identity, NamedVerb::Inspect(name.clone()))? {
            Some(found) => all.extend(found),
            None => done = false,
        }
    }
    outln!("{}", serde_json::to_string_pretty(&all)?);
    Ok(code(done))
}
