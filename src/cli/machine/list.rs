//! `nsvm machine list`

use jiff::Timestamp;

use crate::app::list::{Listed, list};
use crate::cli::table::{ListOptions, Views, ago};
use crate::cli::template::Shape;
use crate::cli::{environment, report};
use crate::machine::units::podman_bytes;

/// List the machines
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  nsvm machine list --quiet\n  \
        nsvm machine list --format 'table {{.Name}}\\t{{.LastUp}}'")]
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
    let shown: Vec<_> = machines.iter().map(|m| view(m, &args.options, now)).collect();
    let views = Views { of: &shown, shape: SHAPE };
    args.options.print(&machines, &views, |m| m.name.clone(), &HEADER, |m| row(m, now))?;
    Ok(0)
}

/// What podman's templates see is this type, whose texts are for people.
const SHAPE: Shape = Shape { name: "*entities.ListReporter", times: &[] };

/// In a table the default machine has its mark; scripts get bare names.
fn view(machine: &Listed, options: &ListOptions, now: Timestamp) -> Listed {
    let in_table = options.format.starts_with("table ");
    Listed {
        name: if in_table { marked(machine) } else { machine.name.clone() },
        created: ago(machine.times.created, now),
        last_up: last_up(machine, now),
        memory: size(&machine.memory),
        swap: size(&machine.swap),
        disk_size: size(&machine.disk_size),
        ..machine.clone()
    }
}

fn marked(machine: &Listed) -> String {
    format!("{}{}", machine.name, if machine.default { "*" } else { "" })
}

fn size(bytes: &str) -> String {
    podman_bytes(bytes.parse().unwrap_or(0))
}

fn row(machine: &Listed, now: Timestamp) -> Vec<String> {
    vec![
        marked(machine),
        machine.vm_type.to_owned(),
        ago(machine.times.created, now),
        last_up(machine, now),
        machine.cpus.to_string(),
        size(&machine.memory),
        size(&machine.disk_size),
    ]
}

fn last_up(machine: &Listed, now: Timestamp) -> String {
    if machine.running {
        return "Currently running".into();
    }
    if machine.starting {
        return "Currently starting".into();
    }
    if machine.suspended {
        let idle = if machine.suspend_reason == "idle" { " (idle)" } else { "" };
        return format!("Suspended{idle} {}", ago(machine.times.last_up, now).to_lowercase());
    }
    ago(machine.times.last_up, now)
}
