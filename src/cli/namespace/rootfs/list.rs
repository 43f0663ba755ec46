//! `nsvm rootfs list`

use jiff::Timestamp;

use super::{ask, short};
use crate::cli::environment::Target;
use crate::cli::table::{ListOptions, Views, ago};
use crate::cli::template::Shape;
use crate::machine::units::human_bytes;
use crate::namespace::rootfs::{Kept, KeptKind, RootFsVerb};

/// List the root file systems that are kept
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  nsvm rootfs list")]
pub struct ListArgs {
    #[command(flatten)]
    options: ListOptions,
}

const HEADER: [&str; 6] = ["NAME", "KIND", "MADE FROM", "CREATED", "SIZE", "USED BY"];

/// What templates see.
const SHAPE: Shape = Shape { name: "rootfs.Kept", times: &[] };

pub fn run(target: &Target, args: &ListArgs) -> anyhow::Result<u8> {
    let all = match ask(target, RootFsVerb::List)? {
        Ok(answer) => answer.kept,
        Err(code) => return Ok(code),
    };
    let now = Timestamp::now();
    let views = Views { of: &all, shape: SHAPE };
    args.options.print(&all, &views, |kept| kept.name.clone(), &HEADER, |kept| row(kept, now))?;
    Ok(0)
}

fn row(kept: &Kept, now: Timestamp) -> Vec<String> {
    let kind = match kept.kind {
        KeptKind::Named => "named",
        KeptKind::Sent => "sent",
    };
    let running = kept.in_use.then_some("a program");
    let users: Vec<&str> =
        running.into_iter().chain(kept.used_by.iter().map(String::as_str)).collect();
    vec![
        short(kept).to_owned(),
        kind.to_owned(),
        kept.from.as_deref().map_or_else(|| "-".to_owned(), source),
        ago(Timestamp::from_second(kept.created).ok(), now),
        human_bytes(kept.size),
        if users.is_empty() { "-".to_owned() } else { users.join(", ") },
    ]
}

/// Digests by their first digits. A directory of the guest may be called
/// anything: what a terminal would obey is made harmless.
fn source(from: &str) -> String {
    let plain: String = from.chars().filter(|c| !c.is_control()).collect();
    match plain.strip_prefix("sha256 ").and_then(|digest| digest.get(..12)) {
        Some(digest) => digest.to_owned(),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_tells_where_it_is_from_and_who_needs_it() {
        let now = Timestamp::from_second(1000).unwrap();
        let digest = "0123456789abcdef".repeat(4);
        let named = Kept {
            name: "web".into(),
            kind: KeptKind::Named,
            from: Some(format!("sha256 {digest}")),
            created: 1000 - 180,
            size: 4096,
            in_use: false,
            used_by: vec![],
        };
        let line = ["web", "named", "0123456789ab", "3 minutes ago", &human_bytes(4096), "-"];
        assert_eq!(row(&named, now), line);
        let sent = Kept {
            name: digest,
            kind: KeptKind::Sent,
            from: None,
            in_use: true,
            used_by: vec!["web".into()],
            ..named
        };
        assert_eq!(row(&sent, now)[..3], ["0123456789ab", "sent", "-"]);
        assert_eq!(row(&sent, now)[5], "a program, web");
        assert_eq!(source("directory /a\u{1b}[2J"), "directory /a[2J");
    }
}
