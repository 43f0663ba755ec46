//! New machines that begin as copies of a template, beside the same that boot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::children::{self, Heed};
use super::proc;
use super::report::{Aim, Figure, Row};
use super::say;
use super::settings::Settings;

/// From a machine that has never run to the end of its first command, in seconds.
const AIM: f64 = 0.8;

/// Building the image takes minutes when no package is cached yet.
const PULL: Duration = Duration::from_secs(1800);
/// nsvm's own deadline comes first.
const START: Duration = Duration::from_secs(400);
/// A boot with the lowest priority, and a copy of it.
const TEMPLATE: Duration = Duration::from_secs(1200);
const SHORT: Duration = Duration::from_secs(60);

/// What booted machines do behind their first command is over by then.
const IDLE: Duration = Duration::from_secs(20);

/// So many run at once while memory is measured.
const MANY: usize = 5;

/// How new machines begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    AsCopy,
    ByBoot,
}

/// Machines in a home and with a cache of their own; removed when dropped.
struct Machines<'a> {
    settings: &'a Settings,
    home: PathBuf,
}

pub fn rows(settings: &Settings, home: &Path) -> anyhow::Result<Vec<Row>> {
    let machines = Machines { settings, home: home.to_owned() };
    machines.take_image()?;
    say("First boot of a machine, and its template");
    machines.begin("first", Begin::AsCopy)?;
    machines.wait_for_template()?;
    machines.remove("first")?;
    let (mut copied, mut booted) = (Vec::new(), Vec::new());
    for round in 1..=settings.starts {
        for (begin, times) in [(Begin::AsCopy, &mut copied), (Begin::ByBoot, &mut booted)] {
            let begun = machines.begin("one", begin).with_context(|| format!("round {round}"))?;
            times.push(begun.as_secs_f64());
            machines.remove("one")?;
            rustix::fs::sync();
        }
        let (copy, boot) = (copied[round - 1], booted[round - 1]);
        say(&format!("Machine {round} of {}: {copy:.2} s, booted {boot:.2} s", settings.starts));
    }
    let shared = machines.memory_of_many(Begin::AsCopy)?;
    let own = machines.memory_of_many(Begin::ByBoot)?;
    Ok(table(&copied, &booted, shared, own))
}

impl Machines<'_> {
    fn nsvm<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.sharing(words);
        command.env_remove("NSVM_IMAGE_CACHE");
        command
    }

    /// With the image cache that everybody shares.
    fn sharing<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.settings.nsvm);
        command.env("NSVM_HOME", &self.home).env("NSVM_AGENT", &self.settings.agent);
        command.env("NSVM_MACHINE_TEMPLATES", "true").env_remove("NSVM_LOG").args(words);
        command
    }

    /// Templates are in the cache of images: so this one is ours.
    fn take_image(&self) -> anyhow::Result<()> {
        let pull = &mut self.sharing(["image", "pull", "-q", "debian-local"]);
        let base = PathBuf::from(children::run(pull, PULL)?.stdout.trim());
        let name = base.file_name().context("a base has a name")?;
        let digest = base.file_stem().context("a base has a name")?.to_string_lossy();
        let index = base.with_file_name("index");
        let cache = self.home.join("cache/images");
        fs::create_dir_all(cache.join("index"))?;
        if fs::hard_link(&base, cache.join(name)).is_err() {
            fs::copy(&base, cache.join(name))?;
        }
        for entry in fs::read_dir(index)? {
            let path = entry?.path();
            if fs::read_to_string(&path)?.contains(&*digest) {
                fs::copy(&path, cache.join("index").join(path.file_name().unwrap_or_default()))?;
            }
        }
        Ok(())
    }

    /// Makes a machine and starts it: the time from there to the end of its
    /// first command.
    fn begin(&self, name: &str, begin: Begin) -> anyhow::Result<Duration> {
        let mut init = self.nsvm(["machine", "init", "--image", "debian-local", "--cpus", "2"]);
        init.args(["--memory", "1024", "--disk-size", "12", name]);
        children::run(&mut init, SHORT)?;
        let began = Instant::now();
        let mut start = self.nsvm(["machine", "start", name]);
        if begin == Begin::ByBoot {
            start.env("NSVM_MACHINE_TEMPLATES", "false");
        }
        let started = children::run(&mut start, START)?;
        children::run(&mut self.nsvm(["--machine", name, "exec", "true"]), SHORT)?;
        let taken = began.elapsed();
        let as_copy = started.stderr.contains("begins as a copy");
        let first = name == "first";
        ensure!(first || as_copy == (begin == Begin::AsCopy), "{begin:?}: {}", started.stderr);
        Ok(taken)
    }

    fn wait_for_template(&self) -> anyhow::Result<()> {
        let end = Instant::now() + TEMPLATE;
        let list = || self.nsvm(["image", "template", "list", "--format", "json"]);
        loop {
            let listed: Value = serde_json::from_str(&children::run(&mut list(), SHORT)?.stdout)?;
            // Before its name it has been tried; what is left is to tidy up.
            if listed.as_array().is_some_and(|all| !all.is_empty()) && self.makers().is_empty() {
                ensure!(listed[0]["Unusable"].is_null(), "{listed}");
                return Ok(());
            }
            ensure!(Instant::now() < end, "there is no template");
            children::sleep(Duration::from_millis(500))?;
        }
    }

    fn makers(&self) -> Vec<i32> {
        let home = format!("NSVM_HOME={}", self.home.display());
        let found = proc::find(|argv| argv.get(1).is_some_and(|word| word == "make-template"));
        let pids = found.iter().map(|process| process.pid);
        pids.filter(|pid| proc::has_variable(*pid, &home)).collect()
    }

    fn remove(&self, name: &str) -> anyhow::Result<()> {
        children::run(&mut self.nsvm(["machine", "rm", "-f", name]), START).map(drop)
    }

    /// Bytes of memory that each of many has, what several share by its part
    /// (Pss, proc(5)).
    fn memory_of_many(&self, begin: Begin) -> anyhow::Result<u64> {
        say(&format!("Memory of {MANY} machines: {begin:?}"));
        let names: Vec<String> = (1..=MANY).map(|at| format!("m{at}")).collect();
        names.iter().try_for_each(|name| self.begin(name, begin).map(drop))?;
        children::sleep(IDLE)?;
        let mut all = 0;
        for name in &names {
            let disk = format!("data/{name}/disk.qcow2");
            let home = self.home.to_string_lossy();
            let qemu = |argv: &[String]| {
                argv.iter().any(|word| word.contains(&disk) && word.contains(&*home))
            };
            let found = proc::find(qemu).pop().context("a machine's QEMU is not running")?;
            all += proc::pss(found.pid)?;
        }
        names.iter().try_for_each(|name| self.remove(name))?;
        Ok(all / MANY as u64)
    }
}

impl Drop for Machines<'_> {
    fn drop(&mut self) {
        let reset = &mut self.nsvm(["machine", "reset", "--force"]);
        let _ = children::attempt(reset, START, Heed::Nothing);
        let home = self.home.to_string_lossy();
        let left = proc::find(|argv| argv.iter().any(|word| word.contains(&*home)));
        for pid in left.into_iter().map(|process| process.pid).chain(self.makers()) {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

fn table(copied: &[f64], booted: &[f64], shared: u64, own: u64) -> Vec<Row> {
    vec![
        Row {
            what: "new machine, as a copy: `machine start` to first `nsvm exec true` done".into(),
            ours: Figure::times(copied),
            peer: "the same, booted".into(),
            theirs: Figure::times(booted),
            aim: Aim::Under(AIM),
        },
        Row {
            what: format!("memory of each of {MANY} copies, Pss of QEMU"),
            ours: Figure::Size(shared),
            peer: format!("of {MANY} that booted"),
            theirs: Figure::Size(own),
            aim: Aim::None,
        },
    ]
}
