//! `nsvm machine default`

use crate::cli::environment;
use crate::machine::name::MachineName;

/// Choose the machine that is meant when none is named
///
/// Without NAME, print which one that is. NSVM_MACHINE and --machine come
/// before it; `init` always makes nsvm-machine-default.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine default work")]
pub struct DefaultArgs {
    /// The machine
    #[arg(value_name = "NAME")]
    name: Option<MachineName>,
}

pub fn run(args: &DefaultArgs) -> anyhow::Result<u8> {
    let store = environment::context()?.store;
    let Some(name) = &args.name else {
        outln!("{}", store.default_name());
        return Ok(0);
    };
    store.load(name)?;
    store.set_default(name)?;
    Ok(0)
}
