//! `nsvm image list`

use jiff::Timestamp;

use crate::app::image::list::{ListedImage, Listing, list};
use crate::cli::table::{ListOptions, Views, ago};
use crate::cli::template::Shape;
use crate::cli::{environment, report};
use crate::image::Unfinished;
use crate::machine::units::human_bytes;

/// List the base images in the cache
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm image list")]
pub struct ListArgs {
    #[command(flatten)]
    options: ListOptions,
}

const HEADER: [&str; 8] =
    ["SOURCE", "RELEASE", "ARCH", "DIGEST", "SIZE", "VIRTUAL SIZE", "CREATED", "MACHINES"];

/// What templates see.
const SHAPE: Shape = Shape { name: "image.Listed", times: &[] };

pub fn run(args: &ListArgs) -> anyhow::Result<u8> {
    let Listing { images, unfinished, unreadable } = list(&environment::context()?)?;
    for error in unreadable {
        report::note(&format!("Warning: {error}"));
    }
    let now = Timestamp::now();
    let views = Views { of: &images, shape: SHAPE };
    args.options.print(
        &images,
        &views,
        |image| image.sha256.clone(),
        &HEADER,
        |image| row(image, now),
    )?;
    if args.options.is_table() {
        unfinished.iter().for_each(mention);
    }
    Ok(0)
}

fn mention(download: &Unfinished) {
    let of = download.total.map(|total| format!(" of {}", human_bytes(total)));
    report::note(&format!(
        "Unfinished: {}{} of \"{}\"; the next pull goes on from there",
        human_bytes(download.done),
        of.unwrap_or_default(),
        download.url
    ));
}

fn row(image: &ListedImage, now: Timestamp) -> Vec<String> {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    vec![
        source(&image.names),
        or_dash(image.release.as_deref()),
        or_dash(image.arch),
        image.sha256[..12].to_owned(),
        human_bytes(image.size),
        image.virtual_size.map_or_else(|| "damaged".to_owned(), human_bytes),
        ago(image.created_at, now),
        image.machines.len().to_string(),
    ]
}

/// Its names; of a path or URL only the file.
fn source(names: &[String]) -> String {
    let is_whole = |name: &str| name == "/dev/null" || name.starts_with("docker:");
    let short = |name: &String| match name.rsplit(['/', '\\']).next() {
        Some(file) if !is_whole(name) && !file.is_empty() => file.to_owned(),
        _ => name.clone(),
    };
    let names: Vec<String> = names.iter().map(short).collect();
    if names.is_empty() { "<none>".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sources_are_shown_by_their_file() {
        let source =
            |names: &[&str]| source(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(source(&[]), "<none>");
        assert_eq!(source(&["debian:13", "mine"]), "debian:13, mine");
        assert_eq!(source(&["https://h/a/b.qcow2.xz"]), "b.qcow2.xz");
        assert_eq!(source(&["/a/b.qcow2"]), "b.qcow2");
        assert_eq!(source(&["/dev/null"]), "/dev/null");
        assert_eq!(source(&["docker://quay.io/a/b:1"]), "docker://quay.io/a/b:1");
    }
}
