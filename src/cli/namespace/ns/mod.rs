//! `nsvm ns ...`: named namespaces, one file a verb.

mod create;
mod exec;
mod inspect;
mod list;
mod rm;

use clap::Subcommand;

use super::identity::IdentityArgs;
use super::verdict::{OURS, Wording};
use crate::app::named;
use crate::cli::environment::{self, Target};
use crate::cli::report;
use crate::namespace::named::Named;
use crate::protocol::outcome::Failure;
use crate::protocol::request::NamedVerb;

#[derive(Debug, Subcommand)]
pub enum Verb {
    Create(Box<create::CreateArgs>),
    Exec(exec::NsExecArgs),
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Inspect(inspect::InspectArgs),
    Rm(rm::RmArgs),
}

pub fn run(target: &Target, verb: &Verb) -> anyhow::Result<u8> {
    match verb {
        Verb::Create(args) => create::run(target, args),
        Verb::Exec(args) => Ok(exec::run(target, args)),
        Verb::List(args) => list::run(target, args),
        Verb::Inspect(args) => inspect::run(target, args),
        Verb::Rm(args) => rm::run(target, args),
    }
}

/// What the agent tells; none: it refused, which was printed.
fn ask(
    target: &Target,
    identity: &IdentityArgs,
    verb: NamedVerb,
) -> anyhow::Result<Option<Vec<Named>>> {
    let user = identity.resolve()?;
    Ok(told(named::ask(&environment::place(target)?, user.as_ref(), verb)?))
}

/// The answer; none: it was a refusal, which was printed.
fn told<T>(answer: Result<T, Failure>) -> Option<T> {
    answer.map_err(|failure| report::note(&Wording::Podman.line(&failure.message))).ok()
}

/// For a verb about several names, of which one failing stops no other.
const fn code(all_done: bool) -> u8 {
    if all_done { 0 } else { OURS }
}
