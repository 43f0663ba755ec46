//! `nsvm namespaces`: the eight kinds, and what the machine's kernel has.

use clap::ValueEnum;

use crate::app::kinds::{self, KindInfo};
use crate::cli::environment::{self, Target};
use crate::cli::table;

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

pub fn run(target: &Target, args: &NamespacesArgs) -> anyhow::Result<u8> {
    let rows = kinds::list(&environment::place(target)?)?;
    match args.format {
        Format::Json => outln!("{}", serde_json::to_string_pretty(&rows)?),
        Format::Table => {
            let cells: Vec<_> = rows.iter().map(cells).collect();
            let header = (!args.noheading).then_some(&HEADER[..]);
            out!("{}", table::render(header, &cells));
        }
    }
    Ok(0)
}

fn cells(row: &KindInfo) -> Vec<String> {
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
    use crate::namespace::kind::Kind;
    use crate::protocol::outcome::Info;

    #[test]
    fn each_kind_is_told_with_what_the_guest_has() {
        let info = Info {
            namespaces: vec!["mount".into(), "user".into()],
            limits: vec![("user".into(), 7)],
            ..Info::default()
        };
        let user = KindInfo::of(Kind::User, &info);
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
        assert_eq!(cells(&KindInfo::of(Kind::Mount, &info))[4..6], ["yes", "-"]);
        assert_eq!(cells(&KindInfo::of(Kind::Time, &info))[4..6], ["no", "-"]);
    }
}
