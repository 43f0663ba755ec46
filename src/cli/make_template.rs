//! The hidden verb that makes a template in the background.

use crate::host;
use crate::machine::name::MachineName;
use crate::supervisor::template::{self, Outcome};

/// Make a template for machines like this one (started by nsvm itself)
#[derive(Debug, clap::Args)]
pub struct MakeTemplateArgs {
    name: MachineName,
}

pub fn run(args: &MakeTemplateArgs) -> anyhow::Result<u8> {
    host::close_inherited_files();
    super::supervise::log_to_stderr();
    host::leave_session()?;
    host::be_nice()?;
    let context = super::environment::context()?;
    match template::make(&context, &args.name) {
        Ok(Outcome::Made) => tracing::info!("there is a template now"),
        Ok(Outcome::Not(why)) => tracing::info!(why, "no template is made"),
        Err(why) => anyhow::bail!("making a template: {}", why.message),
    }
    Ok(0)
}
