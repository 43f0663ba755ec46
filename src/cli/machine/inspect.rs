//! `nsvm machine inspect`

use crate::app::inspect::inspect;
use crate::cli::{environment, report};
use crate::machine::name::MachineName;

/// Show everything about machines, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine inspect work | jq -r '.[0].State'")]
pub struct InspectArgs {
    /// The machines [default: nsvm-machine-default]
    #[arg(value_name = "NAME")]
    names: Vec<MachineName>,
}

pub fn run(args: &InspectArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let mut names = args.names.clone();
    if names.is_empty() {
        names.push(MachineName::default());
    }
    let (mut found, mut failed) = (Vec::new(), false);
    for name in &names {
        match inspect(&context, name) {
            Ok(info) => found.push(info),
            Err(e) => {
                failed = true;
                report::error(&e);
            }
        }
    }
    println!("{}", serde_json::to_string_pretty(&found)?);
    Ok(if failed { crate::cli::namespace::verdict::OURS } else { 0 })
}
