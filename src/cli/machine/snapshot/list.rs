//! `nsvm machine snapshot list`

use jiff::Timestamp;

use crate::app::snapshot::{ListedSnapshot, list};
use crate::cli::table::{ListOptions, Views, ago};
use crate::cli::template::Shape;
use crate::cli::{environment, report};
use crate::machine::name::MachineName;
use crate::machine::units::human_bytes;

/// List the snapshots of a machine, as a tree
///
/// `*` marks the one that the present came after.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine snapshot list work")]
pub struct ListArgs {
    /// The machine [default: what `machine default` says]
    #[arg(value_name = "NAME")]
    name: Option<MachineName>,
    #[command(flatten)]
    options: ListOptions,
}

const HEADER: [&str; 5] = ["NAME", "PARENT", "CREATED", "MEMORY", "SIZE"];

/// What templates see.
const SHAPE: Shape = Shape { name: "machine.Snapshot", times: &[] };

pub fn run(args: &ListArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let name = args.name.clone().unwrap_or_else(|| context.store.default_name());
    let (snapshots, bad) = list(&context, &name)?;
    for error in bad {
        report::note(&format!("Warning: {error}"));
    }
    let now = Timestamp::now();
    let views = Views { of: &snapshots, shape: SHAPE };
    args.options.print(&snapshots, &views, |one| one.name.clone(), &HEADER, |one| row(one, now))?;
    Ok(0)
}

fn row(one: &ListedSnapshot, now: Timestamp) -> Vec<String> {
    let mark = if one.current { "*" } else { "" };
    vec![
        format!("{}{}{mark}", "  ".repeat(one.depth), one.name),
        if one.parent.is_empty() { "-".to_owned() } else { one.parent.clone() },
        ago(Some(one.at), now),
        if one.memory { "yes" } else { "no" }.to_owned(),
        human_bytes(one.size),
    ]
}
