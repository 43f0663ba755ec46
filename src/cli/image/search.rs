//! `nsvm image search`

use crate::app::image::search::{FoundImage, search};
use crate::cli::environment;
use crate::cli::table::{ListOptions, Views};
use crate::cli::template::Shape;
use crate::image::Provisioner;

/// List what --image knows by name
///
/// All of it, or what has the text in its name, summary or versions. The
/// first version is the one that is meant when none is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm image search debian")]
pub struct SearchArgs {
    /// What to look for
    text: Option<String>,
    #[command(flatten)]
    options: ListOptions,
}

const HEADER: [&str; 7] =
    ["NAME", "VERSIONS", "ARCHES", "USER", "PROVISIONER", "CACHED", "SUMMARY"];

/// What templates see.
const SHAPE: Shape = Shape { name: "image.Found", times: &[] };

pub fn run(args: &SearchArgs) -> anyhow::Result<u8> {
    let found = search(&environment::context()?, args.text.as_deref())?;
    let views = Views { of: &found, shape: SHAPE };
    args.options.print(&found, &views, |image| image.name.clone(), &HEADER, row)?;
    Ok(0)
}

fn row(image: &FoundImage) -> Vec<String> {
    let listed = |texts: &[String]| match texts {
        [] => "-".to_owned(),
        texts => texts.join(","),
    };
    let provisioner = match image.provisioner {
        Provisioner::Ignition => "ignition",
        Provisioner::CloudInit => "cloud-init",
        Provisioner::Auto => "auto",
    };
    let cached = if image.versions.is_empty() && !image.cached.is_empty() {
        "yes".to_owned()
    } else {
        listed(&image.cached)
    };
    vec![
        image.name.clone(),
        listed(&image.versions),
        image.arches.join(","),
        image.user.clone(),
        provisioner.to_owned(),
        cached,
        image.summary.clone(),
    ]
}
