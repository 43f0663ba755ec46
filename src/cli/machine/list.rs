//! `nsvm machine list`

use jiff::Timestamp;

use crate::app::list::{Listed, list};
use crate::cli::table::{ListOptions, ago};
use crate::cli::{environment, report};
use crate::machine::units::human_bytes;

/// List the machines
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine list --quiet")]
pub struct ListArgs {
    #[command(flatten)]
    options: ListOptions,
}

const HEADER: [&str; 7] = ["NAME", "VM TYPE", "CREATED", "LAST UP", "CPUS", "MEMORY", "DISK SIZE"];

pub fn run(args: &ListArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let (machines, bad) = list(&context)?;
    for error in bad {
        report::note(&format!("Warning: {error}"));
    }
    let now = Timestamp::now();
    args.options.print(&machines, |m| m.name.clone(), &HEADER, |m| row(m, now))?;
    Ok(0)
}

fn row(machine: &Listed, now: Timestamp) -> Vec<String> {
    let mark = if machine.default { "*" } else { "" };
    let bytes = |text: &str| human_bytes(text.parse().unwrap_or(0));
    vec![
        format!("{}{mark}", machine.name),
        machine.vm_type.to_owned(),
        ago(machine.times.created, now),
        last_up(machine, now),
        machine.cpus.to_string(),
        bytes(&machine.memory),
        bytes(&machine.disk_size),
    ]
}

fn last_up(machine: &Listed, now: Timestamp) -> String {
    if machine.running {
        return "Currently running".into();
    }
    if machine.starting {
        return "Currently starting".into();
    }
    ago(machine.times.last_up, now)
}
