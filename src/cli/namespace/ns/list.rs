//! `nsvm ns list`

use jiff::Timestamp;

use super::super::identity::IdentityArgs;
use super::{ask, code};
use crate::cli::environment::Target;
use crate::cli::table::{ListOptions, Views, ago};
use crate::cli::template::Shape;
use crate::namespace::kind::Kind;
use crate::namespace::named::{Named, State};
use crate::protocol::request::NamedVerb;

/// List the named namespaces
///
/// Those of the user; everyone's as root (--user-name root).
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  nsvm ns list --quiet")]
pub struct ListArgs {
    #[command(flatten)]
    options: ListOptions,
    #[command(flatten)]
    identity: IdentityArgs,
}

const HEADER: [&str; 6] = ["NAME", "STATE", "USER", "CREATED", "PROCESSES", "KINDS"];

/// What templates see.
const SHAPE: Shape = Shape { name: "namespace.Named", times: &[] };

pub fn run(target: &Target, args: &ListArgs) -> anyhow::Result<u8> {
    let Some(all) = ask(target, &args.identity, NamedVerb::List)? else { return Ok(code(false)) };
    let now = Timestamp::now();
    let views = Views { of: &all, shape: SHAPE };
    args.options.print(
        &all,
        &views,
        |named| named.name.to_string(),
        &HEADER,
        |named| row(named, now),
    )?;
    Ok(code(true))
}

fn row(named: &Named, now: Timestamp) -> Vec<String> {
    let (state, processes) = match named.state {
        State::Running => ("running", named.processes.len().to_string()),
        State::Gone => ("gone", "-".to_owned()),
    };
    let kinds: Vec<_> = named.kinds.iter().copied().map(Kind::option).collect();
    vec![
        named.name.to_string(),
        state.to_owned(),
        // Of the guest's files: what a terminal would obey is made harmless.
        named.user.chars().filter(|c| !c.is_control()).collect(),
        ago(Timestamp::from_second(named.created).ok(), now),
        processes,
        kinds.join(","),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_tells_what_is_left() {
        let now = Timestamp::from_second(1000).unwrap();
        let named = Named {
            name: "web".parse().unwrap(),
            state: State::Running,
            reason: None,
            created: 1000 - 180,
            user: "core".into(),
            uid: 1000,
            kinds: vec![Kind::Net, Kind::Pid],
            hostname: None,
            limits: None,
            namespaces: [].into(),
            pid: Some(7),
            processes: vec![8, 9],
        };
        let running = ["web", "running", "core", "3 minutes ago", "2", "net,pid"];
        assert_eq!(row(&named, now), running);
        let gone = Named { state: State::Gone, ..named };
        assert_eq!(row(&gone, now)[1..5], ["gone", "core", "3 minutes ago", "-"]);
    }
}
