//! `nsvm machine inspect`

use crate::app::inspect::{InspectInfo, inspect};
use crate::cli::table::{Views, columns, lines};
use crate::cli::template::{Format, Shape};
use crate::cli::{environment, report};
use crate::machine::name::MachineName;

/// Show everything about machines, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  nsvm machine inspect work | jq -r '.[0].State'\n  \
        nsvm machine inspect --format '{{.State}} {{.LastUp.Format \"15:04\"}}' work")]
pub struct InspectArgs {
    /// Print this Go template of each machine instead, or json
    #[arg(short, long, value_name = "FORMAT", default_value = "json", hide_default_value = true)]
    format: String,
    /// The machines [default: what `machine default` says]
    #[arg(value_name = "NAME")]
    names: Vec<MachineName>,
}

pub fn run(args: &InspectArgs) -> anyhow::Result<u8> {
    let format = Format::parse("inspect", &args.format)?;
    let context = environment::context()?;
    let mut names = args.names.clone();
    if names.is_empty() {
        names.push(context.store.default_name());
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
    print(&format, &found)?;
    Ok(if failed { crate::cli::namespace::verdict::OURS } else { 0 })
}

const SHAPE: Shape = Shape { name: "machine.InspectInfo", times: &["Created", "LastUp"] };

fn print(format: &Format, found: &[InspectInfo]) -> anyhow::Result<()> {
    let views = Views { of: found, shape: SHAPE };
    match format {
        Format::Json => outln!("{}", serde_json::to_string_pretty(found)?),
        Format::Table(template) => out!("{}", columns(template, &views, true)?),
        Format::Plain(template) => out!("{}", lines(template, &views)?),
    }
    Ok(())
}
