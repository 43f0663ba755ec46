//! Getting an image: `nsvm image pull` of 500 MB of xz from a server on this
//! host, beside the tools one would use by hand.

mod archive;
mod cost;
mod server;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use self::archive::Archive;
use self::cost::Cost;
use super::children;
use super::report::{Aim, Figure, Row};
use super::say;
use super::settings::Settings;

/// Times `xz -T0 -dc` alone.
const AIM: f64 = 1.1;
const AIM_MEMORY: u64 = 1 << 30;
const AIM_MEMORY_ONE: u64 = 100 * 1_000_000;
/// In seconds.
const AIM_CACHED: f64 = 0.1;

/// A quiet host takes twenty seconds.
const PATIENCE: Duration = Duration::from_secs(1200);

const XZ: &str = "xz -T0 -dc \"$ARCHIVE\" >/dev/null";
const XZ_ONE: &str = "xz -T1 -dc \"$ARCHIVE\" >/dev/null";
/// Downloads, unpacks and checks both digests, as one does by hand.
const TOOLS: &str = "set -e; curl -sf \"$URL\" | tee image.xz | xz -T0 -dc >image; \
    sha256sum image.xz image; rm image.xz image";

/// For whoever reads the table.
pub const NOTES: &str = "\
- Images: the ways in turn, `BENCH_PULLS` times; the file comes from a server in the benchmark's\n  \
  own process. Nine blocks of 192 MiB, packed by `xz -9` from an operating system's disk. nsvm\n  \
  also hashes both sides, keeps what it received and syncs the disk; `xz` alone writes nothing.\n  \
  RSS is the most of all runs. On one CPU: `taskset`. This part alone: `BENCH_ONLY=images`.\n";

#[derive(Debug, Default)]
struct Samples {
    nsvm: Vec<Cost>,
    xz: Vec<Cost>,
    tools: Vec<Cost>,
    nsvm_one: Vec<Cost>,
    xz_one: Vec<Cost>,
    cached: Vec<Cost>,
}

pub fn rows(settings: &Settings, dir: &Path) -> anyhow::Result<Vec<Row>> {
    let archive = Archive::ensure(settings)?;
    let url = server::start(&archive.path)?;
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    fs::create_dir_all(dir)?;
    let surroundings = Surroundings { settings, dir, archive: &archive, url: &url };
    let mut samples = Samples::default();
    for round in 1..=settings.pulls {
        say(&format!("Getting an image, round {round} of {}", settings.pulls));
        samples.xz.push(surroundings.shell(XZ, &[])?);
        samples.nsvm.push(surroundings.pull(&[])?);
        samples.cached.push(surroundings.cached_init()?);
        if has_curl {
            samples.tools.push(surroundings.shell(TOOLS, &[])?);
        }
        // On one CPU there is one decoder thread.
        samples.xz_one.push(surroundings.shell(XZ_ONE, ON_ONE_CPU)?);
        samples.nsvm_one.push(surroundings.pull(ON_ONE_CPU)?);
    }
    Ok(table(&samples, &archive, has_curl))
}

const ON_ONE_CPU: &[&str] = &["taskset", "-c", "0"];

struct Surroundings<'a> {
    settings: &'a Settings,
    dir: &'a Path,
    archive: &'a Archive,
    url: &'a str,
}

impl Surroundings<'_> {
    fn command(&self, before: &[&str], words: &[&str]) -> Command {
        let all = [before, words].concat();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).current_dir(self.dir);
        command.env("ARCHIVE", &self.archive.path).env("URL", self.url);
        command.env("NSVM_HOME", self.dir.join("home"));
        command.env("NSVM_IMAGE_CACHE", self.cache()).env_remove("NSVM_LOG");
        command
    }

    fn cache(&self) -> std::path::PathBuf {
        self.dir.join("images")
    }

    fn shell(&self, script: &str, before: &[&str]) -> anyhow::Result<Cost> {
        cost::measure(&mut self.command(before, &["sh", "-c", script]), PATIENCE)
    }

    fn nsvm(&self, before: &[&str], words: &[&str]) -> anyhow::Result<Cost> {
        let program = self.settings.nsvm.to_str().context("nsvm's path is not UTF-8")?;
        let image = [self.url, "--sha256", &self.archive.sha256];
        cost::measure(&mut self.command(before, &[&[program], words, &image].concat()), PATIENCE)
    }

    /// Into an empty cache.
    fn pull(&self, before: &[&str]) -> anyhow::Result<Cost> {
        if self.cache().exists() {
            fs::remove_dir_all(self.cache())?;
        }
        self.nsvm(before, &["image", "pull", "-q"])
    }

    /// Of an image that is in the cache.
    fn cached_init(&self) -> anyhow::Result<Cost> {
        let found = self.nsvm(&[], &["machine", "init", "-q", "cached", "--image"])?;
        let program = self.settings.nsvm.to_str().context("nsvm's path is not UTF-8")?;
        let mut remove = self.command(&[], &[program, "machine", "rm", "-f", "cached"]);
        children::run(&mut remove, PATIENCE)?;
        Ok(found)
    }
}

fn table(samples: &Samples, archive: &Archive, has_curl: bool) -> Vec<Row> {
    let wall = |costs: &[Cost]| seconds(costs, |cost| cost.wall);
    let cpu = |costs: &[Cost]| seconds(costs, |cost| cost.cpu);
    let tools = "`curl | xz -dc`, `sha256sum` twice";
    let by_hand = if has_curl { tools.into() } else { format!("{tools}: no curl") };
    let what = format!("`nsvm image pull`, {} MB of xz, wall", archive.length / 1_000_000);
    let same = |what: &str| format!("the same, {what}");
    let peer = "`xz -T0 -dc` alone";
    let row =
        |what, ours, peer: &str, theirs, aim| Row { what, ours, peer: peer.into(), theirs, aim };
    let none = Figure::Absent;
    vec![
        row(what, wall(&samples.nsvm), peer, wall(&samples.xz), Aim::AtMostTimes(AIM)),
        row(same("CPU time"), cpu(&samples.nsvm), peer, cpu(&samples.xz), Aim::Times),
        row(same("peak RSS"), peak(&samples.nsvm), "", none, Aim::UnderSize(AIM_MEMORY)),
        row(same("wall"), wall(&samples.nsvm), &by_hand, wall(&samples.tools), Aim::Times),
        row(
            same("on one CPU, wall"),
            wall(&samples.nsvm_one),
            "`xz -T1 -dc` alone, there",
            wall(&samples.xz_one),
            Aim::Times,
        ),
        row(
            same("on one CPU, peak RSS"),
            peak(&samples.nsvm_one),
            "",
            none,
            Aim::UnderSize(AIM_MEMORY_ONE),
        ),
        row(
            "`nsvm machine init`, image in the cache".into(),
            wall(&samples.cached),
            "",
            none,
            Aim::Under(AIM_CACHED),
        ),
    ]
}

fn seconds(costs: &[Cost], of: impl Fn(&Cost) -> Duration) -> Figure {
    let samples: Vec<f64> = costs.iter().map(|cost| of(cost).as_secs_f64()).collect();
    Figure::times(&samples)
}

fn peak(costs: &[Cost]) -> Figure {
    costs.iter().map(|cost| cost.peak).max().map_or(Figure::Absent, Figure::Size)
}
