//! `nsvm image template ...`

use clap::Subcommand;
use jiff::Timestamp;

use crate::app::image::templates::{ListedTemplate, list, remove, remove_all};
use crate::cli::namespace::verdict::OURS;
use crate::cli::table::{ListOptions, Views, ago};
use crate::cli::template::Shape;
use crate::cli::{environment, report};
use crate::machine::units::human_bytes;

#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(visible_alias = "ls")]
    List(ListArgs),
    Rm(RmArgs),
}

/// List templates, and for what machines there is none
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm image template list")]
pub struct ListArgs {
    #[command(flatten)]
    options: ListOptions,
}

/// Remove templates
///
/// Machines that began as copies of them go on. One that could not be made is
/// tried again after the next first boot.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm image template rm --all")]
pub struct RmArgs {
    /// Digests or their first digits
    #[arg(value_name = "DIGEST", required_unless_present = "all")]
    templates: Vec<String>,
    /// Remove all of them
    #[arg(short, long, conflicts_with = "templates")]
    all: bool,
}

const HEADER: [&str; 9] =
    ["DIGEST", "IMAGE", "USER", "CPUS", "MEMORY", "DISK SIZE", "CREATED", "SIZE", "UNUSABLE"];

/// What templates (of `--format`) see.
const SHAPE: Shape = Shape { name: "template.Listed", times: &[] };

pub fn run(verb: &Verb) -> anyhow::Result<u8> {
    match verb {
        Verb::List(args) => show(args),
        Verb::Rm(args) => rm(args),
    }
}

fn show(args: &ListArgs) -> anyhow::Result<u8> {
    let templates = list(&environment::context()?)?;
    let now = Timestamp::now();
    let views = Views { of: &templates, shape: SHAPE };
    args.options.print(
        &templates,
        &views,
        |template| template.digest.clone(),
        &HEADER,
        |template| row(template, now),
    )?;
    Ok(0)
}

fn row(template: &ListedTemplate, now: Timestamp) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let number = |number: Option<u64>, unit: &str| match number {
        Some(number) => format!("{number} {unit}").trim_end().to_owned(),
        None => "-".into(),
    };
    vec![
        template.digest.chars().take(12).collect(),
        text(&template.image),
        text(&template.username),
        number(template.cpus.map(u64::from), ""),
        number(template.memory, "MiB"),
        number(template.disk_size, "GiB"),
        template.created_at.map_or_else(|| "-".into(), |made| ago(Some(made), now)),
        human_bytes(template.size),
        text(&template.unusable),
    ]
}

fn rm(args: &RmArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let tell = |removed: &[ListedTemplate]| {
        for template in removed {
            outln!("Deleted: {}", template.digest);
        }
        let bytes = removed.iter().map(|template| template.size).sum();
        report::note(&format!("Freed {}", human_bytes(bytes)));
    };
    if args.all {
        tell(&remove_all(&context)?);
        return Ok(0);
    }
    let mut code = 0;
    for text in &args.templates {
        match remove(&context, text) {
            Ok(removed) => tell(&removed),
            Err(e) => {
                report::error(&e);
                code = OURS;
            }
        }
    }
    Ok(code)
}
