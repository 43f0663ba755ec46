//! `nsvm machine list`

use clap::ValueEnum;
use jiff::Timestamp;

use crate::app::list::{Listed, list};
use crate::cli::{environment, report, table};
use crate::machine::units::human_bytes;

/// List the machines
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine list --quiet")]
pub struct ListArgs {
    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Print no header
    #[arg(short, long)]
    noheading: bool,
    /// Print only the names
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

const HEADER: [&str; 7] = ["NAME", "VM TYPE", "CREATED", "LAST UP", "CPUS", "MEMORY", "DISK SIZE"];

pub fn run(args: &ListArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let (machines, bad) = list(&context)?;
    for error in bad {
        report::note(&format!("Warning: {error}"));
    }
    if args.quiet {
        for machine in &machines {
            println!("{}", machine.name);
        }
    } else if args.format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&machines)?);
    } else {
        let rows: Vec<_> = machines.iter().map(|m| row(m, Timestamp::now())).collect();
        let header = (!args.noheading).then_some(&HEADER[..]);
        print!("{}", table::render(header, &rows));
    }
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

/// `3 hours ago`, as podman words it.
fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    const UNITS: [(&str, i64); 5] = [
        ("month", 30 * 86400),
        ("week", 7 * 86400),
        ("day", 86400),
        ("hour", 3600),
        ("minute", 60),
    ];
    let Some(time) = time else { return "Never".into() };
    let seconds = (now.as_second() - time.as_second()).max(0);
    for (unit, length) in UNITS {
        let count = seconds / length;
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            return format!("{count} {unit}{plural} ago");
        }
    }
    if seconds < 2 { "Less than a second ago".into() } else { format!("{seconds} seconds ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let before = |seconds: i64| ago(Timestamp::from_second(1_000_000_000 - seconds).ok(), now);
        assert_eq!(before(0), "Less than a second ago");
        assert_eq!(before(59), "59 seconds ago");
        assert_eq!(before(60), "1 minute ago");
        assert_eq!(before(7200), "2 hours ago");
        assert_eq!(before(40 * 86400), "1 month ago");
        assert_eq!(ago(None, now), "Never");
    }
}
