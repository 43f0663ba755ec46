//! `nsvm machine wait`

use std::str::FromStr;
use std::time::Duration;

use crate::app::wait::{Awaited, Patience, wait};
use crate::cli::{environment, interrupt};

/// Wait until a machine, or something in it, is up
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine wait --for unit:docker.service work")]
pub struct WaitArgs {
    #[command(flatten)]
    which: super::Which,
    /// What to wait for: ssh, agent, system, or unit:NAME
    #[arg(long = "for", value_name = "WHAT", default_value = "agent")]
    awaited: Wanted,
    /// Seconds after which to give up
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: u64,
}

#[derive(Debug, Clone)]
pub struct Wanted(pub Awaited);

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text.split_once(':') {
            None if text == "ssh" => Awaited::Ssh,
            None if text == "agent" => Awaited::Agent,
            None if text == "system" => Awaited::System,
            Some(("unit", name)) if !name.is_empty() => Awaited::Unit(name.to_owned()),
            _ => return Err("it must be ssh, agent, system or unit:NAME".to_owned()),
        }))
    }
}

pub fn run(args: &WaitArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let interrupted = interrupt::flag();
    let patience =
        Patience { timeout: Duration::from_secs(args.timeout), interrupted: &interrupted };
    wait(&context, &args.which.name(&context), &args.awaited.0, patience)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named() {
        let parse = |text: &str| text.parse::<Wanted>().map(|wanted| wanted.0);
        assert_eq!(parse("ssh"), Ok(Awaited::Ssh));
        assert_eq!(parse("system"), Ok(Awaited::System));
        assert_eq!(parse("unit:a@b:c.service"), Ok(Awaited::Unit("a@b:c.service".into())));
        for bad in ["", "unit", "unit:", "agent:x", "file:/x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
