//! `nsvm image ...`: the cache of base images.

mod import;
mod inspect;
mod list;
pub mod options;
mod prune;
mod pull;
mod rm;
mod search;
mod template;
mod verify;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Pull(pull::PullArgs),
    Inspect(inspect::InspectArgs),
    Rm(rm::RmArgs),
    Prune(prune::PruneArgs),
    Verify(verify::VerifyArgs),
    Import(import::ImportArgs),
    Search(search::SearchArgs),
    /// Templates, of which new machines begin as copies
    ///
    /// With `templates = true` in the config file, nsvm makes one in the
    /// background after the first boot of a machine. Machines that differ only
    /// in whose they are start from it at once.
    #[command(subcommand)]
    Template(template::Verb),
}

pub fn run(verb: Verb) -> anyhow::Result<u8> {
    match verb {
        Verb::List(args) => list::run(&args),
        Verb::Pull(args) => pull::run(args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Rm(args) => rm::run(&args),
        Verb::Prune(args) => prune::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Import(args) => import::run(args),
        Verb::Search(args) => search::run(&args),
        Verb::Template(verb) => template::run(&verb),
    }
}
