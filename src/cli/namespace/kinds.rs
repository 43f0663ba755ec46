//! `nsvm namespaces`: the eight kinds, and what the machine's kernel has.

use clap::ValueEnum;
use serde::Serialize;

use crate::app;
use crate::cli::environment::{self, Target};
use crate::cli::table;
use crate::namespace::kind::Kind;
use crate::protocol::outcome::Info;

/// List the kinds of namespaces and what the machine's kernel has of them
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm namespaces --format json")]
pub struct NamespacesArgs {
    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Print no header
    #[arg(short, long)]
    noheading: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

const HEADER: [&str; 7] = ["NAME", "FLAG", "CLONE FLAG", "MANUAL", "HERE", "LIMIT", "ISOLATES"];

/// One kind, with what the guest says about it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    name: &'static str,
    option: String,
    short_option: String,
    clone_flag: &'static str,
    clone_value: u32,
    manual: &'static str,
    isolates: &'static str,
    supported: bool,
    /// How many each user may have; none: the kernel does not say.
    limit: Option<u64>,
}

pub fn run(target: &Target, args: &NamespacesArgs) -> anyhow::Result<u8> {
    let info = app::run::info(&environment::place(target)?)?;
    let rows: Vec<Row> = Kind::ALL.into_iter().map(|kind| row(kind, &info)).collect();
    match args.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
        Format::Table => {
            let cells: Vec<_> = rows.iter().map(cells).collect();
            let header = (!args.noheading).then_some(&HEADER[..]);
            print!("{}", table::render(header, &cells));
        }
    }
    Ok(0)
}

fn row(kind: Kind, info: &Info) -> Row {
    let name = kind.option();
    Row {
        name,
        option: format!("--{name}"),
        short_option: format!("-{}", kind.short_option()),
        clone_flag: kind.clone_name(),
        clone_value: kind.clone_flag(),
        manual: kind.manual(),
        isolates: kind.isolates(),
        supported: info.namespaces.iter().any(|supported| supported == name),
        limit: info.limits.iter().find(|(limited, _)| limited == name).map(|(_, limit)| *limit),
    }
}

fn cells(row: &Row) -> Vec<String> {
    vec![
        row.name.to_owned(),
        format!("{}, {}", row.short_option, row.option),
        row.clone_flag.to_owned(),
        row.manual.to_owned(),
        if row.supported { "yes" } else { "no" }.to_owned(),
        row.limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string()),
        row.isolates.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_with_what_the_guest_has() {
        let info = Info {
            namespaces: vec!["mount".into(), "user".into()],
            limits: vec![("user".into(), 7)],
            ..Info::default()
        };
        let user = row(Kind::User, &info);
        assert_eq!((user.supported, user.limit), (true, Some(7)));
        let expected = [
            "user",
            "-U, --user",
            "CLONE_NEWUSER",
            "user_namespaces(7)",
            "yes",
            "7",
            "user and group ids, capabilities",
        ];
        assert_eq!(cells(&user), expected);
        assert_eq!(cells(&row(Kind::Mount, &info))[4..6], ["yes", "-"]);
        assert_eq!(cells(&row(Kind::Time, &info))[4..6], ["no", "-"]);
    }
}
