//! `nsvm machine snapshot ...`

mod create;
mod list;
mod restore;
mod rm;

use std::str::FromStr;

use clap::{Args, Subcommand};

use crate::app::{Context, Refusal};
use crate::machine::name::MachineName;
use crate::machine::snapshot::SnapshotName;

/// Keep states of a machine, and go back to them
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::CreateArgs),
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Restore(restore::RestoreArgs),
    Rm(rm::RmArgs),
}

pub fn run(args: &SnapshotArgs) -> anyhow::Result<u8> {
    match &args.verb {
        Verb::Create(args) => create::run(args),
        Verb::List(args) => list::run(args),
        Verb::Restore(args) => restore::run(args),
        Verb::Rm(args) => rm::run(args),
    }
}

/// A snapshot of a machine.
#[derive(Debug, Args)]
struct Which {
    /// The machine [default: what `machine default` says], and the snapshot
    #[arg(value_name = "[NAME] SNAPSHOT", num_args = 1..=2, required = true)]
    names: Vec<String>,
}

impl Which {
    fn resolve(&self, context: &Context) -> anyhow::Result<(MachineName, SnapshotName)> {
        fn parse<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Refusal> {
            text.parse().map_err(|e: T::Err| Refusal::new(e.to_string()))
        }
        Ok(match self.names.as_slice() {
            [machine, snapshot] => (parse(machine)?, parse(snapshot)?),
            [snapshot] => (context.store.default_name(), parse(snapshot)?),
            _ => return Err(Refusal::new("name one machine and one snapshot").into()),
        })
    }
}
