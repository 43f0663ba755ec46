//! `nsvm machine info`

use crate::app::info::{Info, info};
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::table::{Views, columns, lines};
use crate::cli::template::{Format, Shape};
use crate::cli::{environment, yaml};

/// Show what this host offers machines
///
/// Printed as YAML unless --format says otherwise. An accelerator is probed
/// the first time, which takes seconds.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  nsvm machine info\n  \
                        nsvm machine info --format '{{.Host.VMType}} {{.Host.Accelerator.InUse}}'")]
pub struct InfoArgs {
    /// How to print it: yaml, json, or a Go template
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml", hide_default_value = true)]
    format: String,
}

/// What podman's templates see is this type.
const SHAPE: Shape = Shape { name: "entities.MachineInfo", times: &[] };

pub fn run(args: &InfoArgs) -> anyhow::Result<u8> {
    let yaml = args.format == "yaml";
    let format = (!yaml).then(|| Format::parse("info", &args.format)).transpose()?;
    let context = environment::context()?;
    let info = info(&context, &Printer::new(Verbosity::Quiet))?;
    let views = Views { of: std::slice::from_ref(&info), shape: SHAPE };
    match format {
        None => out!("{}", yaml::render(&lower_case(&info)?)),
        Some(Format::Json) => outln!("{}", serde_json::to_string_pretty(&info)?),
        Some(Format::Table(template)) => out!("{}", columns(&template, &views, true)?),
        Some(Format::Plain(template)) => out!("{}", lines(&template, &views)?),
    }
    Ok(0)
}

/// podman's YAML has small keys.
fn lower_case(info: &Info) -> anyhow::Result<serde_json::Value> {
    fn lower(value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::Object(map) => {
                let lower = |(key, value): (String, Value)| (key.to_lowercase(), lower(value));
                Value::Object(map.into_iter().map(lower).collect())
            }
            Value::Array(list) => Value::Array(list.into_iter().map(lower).collect()),
            other => other,
        }
    }
    Ok(lower(serde_json::to_value(info)?))
}
