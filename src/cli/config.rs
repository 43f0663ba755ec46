//! `nsvm config ...`: what config files and the environment say.

use clap::Subcommand;
use toml::Value;

use super::environment;
use crate::settings::layers::Shown;

#[derive(Debug, Subcommand)]
pub enum Verb {
    Show(ShowArgs),
}

/// Print the settings that count, as a config file
///
/// Lowest first: what is built in; the system's nsvm.toml and conf.d/*.toml;
/// the user's; variables such as NSVM_MACHINE_CPUS. Flags come before all of
/// them. What is left out is decided by the image or the host.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm config show --origin")]
pub struct ShowArgs {
    /// Say behind each one where it comes from
    #[arg(long)]
    origin: bool,
}

pub fn run(verb: &Verb) -> anyhow::Result<u8> {
    let Verb::Show(args) = verb;
    out!("{}", text(&environment::settings()?.shown(), args.origin));
    Ok(0)
}

/// TOML that reads back; origins are comments in a column of their own.
fn text(all: &[Shown], origins: bool) -> String {
    let line = |shown: &Shown| format!("{} = {}", shown.key, inline(&shown.value));
    let width = all.iter().map(|shown| line(shown).chars().count()).filter(|n| *n <= 50).max();
    let width = width.unwrap_or(0);
    let mut lines = Vec::new();
    let mut table = "";
    for shown in all {
        if shown.table != table {
            // An empty line between tables.
            lines.extend((!table.is_empty()).then(String::new));
            table = &shown.table;
            lines.push(format!("[{table}]"));
        }
        let line = line(shown);
        lines.push(if origins { format!("{line:<width$}  # {}", shown.origin) } else { line });
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// A value on one line.
fn inline(value: &Value) -> String {
    value.to_string().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::layers::Origin;

    #[test]
    fn what_is_shown_is_a_config_file() {
        let shown = |table: &str, key: &str, value: Value| Shown {
            table: table.into(),
            key: key.into(),
            value,
            origin: Origin::Variable("NSVM_X".into()),
        };
        let entry = toml::Table::from_iter([("name".to_owned(), Value::from("ours"))]);
        let all = [
            shown("machine", "cpus", Value::from(2)),
            shown("machine", "user", Value::from("a \"b\"")),
            shown("image", "catalog", Value::from(vec![Value::Table(entry)])),
        ];
        let text = text(&all, true);
        assert!(text.starts_with("[machine]\ncpus = 2 "), "{text}");
        let back: toml::Table = text.parse().unwrap();
        assert_eq!(back["machine"]["user"].as_str(), Some("a \"b\""));
        assert_eq!(back["image"]["catalog"][0]["name"].as_str(), Some("ours"));
        assert_eq!(text.matches("# NSVM_X").count(), 3);
    }
}
