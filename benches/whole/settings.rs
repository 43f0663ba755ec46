//! What a run of the benchmarks shall be like, read from the environment.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// Everything that can be chosen.
#[derive(Debug)]
pub struct Settings {
    /// The program under test: `NSVM`, else the one built with the benchmark.
    pub nsvm: PathBuf,
    /// The guest agent it installs.
    pub agent: PathBuf,
    /// Of the machine under test: `BENCH_IMAGE`.
    pub image: String,
    /// Boots of each side.
    pub starts: usize,
    /// Runs of each command in the guest.
    pub commands: usize,
    /// Runs of each command that only looks.
    pub calls: usize,
    /// Times that an image is got by each way.
    pub pulls: usize,
    /// A part of it all.
    pub only: Option<Only>,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    Images,
    Machine,
    Suspend,
    Templates,
}

impl Settings {
    pub fn from_environment() -> anyhow::Result<Self> {
        let nsvm = path("NSVM")?.unwrap_or_else(|| env!("CARGO_BIN_EXE_nsvm").into());
        ensure!(nsvm.is_file(), "there is no program \"{}\"", nsvm.display());
        let agent = match path("NSVM_AGENT")? {
            Some(agent) => agent,
            None => beside(&nsvm).context("no nsvm-agent beside nsvm: set NSVM_AGENT")?,
        };
        Ok(Self {
            nsvm,
            agent,
            image: std::env::var("BENCH_IMAGE").unwrap_or_else(|_| "debian-local".into()),
            starts: count("BENCH_STARTS", 5)?,
            commands: count("BENCH_COMMANDS", 40)?,
            calls: count("BENCH_CALLS", 50)?,
            pulls: count("BENCH_PULLS", 3)?,
            only: only()?,
        })
    }
}

/// The agent that this nsvm would take.
fn beside(nsvm: &Path) -> Option<PathBuf> {
    let exact = format!("nsvm-agent-{}", std::env::consts::ARCH);
    let dir = nsvm.parent()?;
    let places =
        [dir.join(&exact), dir.join("../libexec/nsvm").join(&exact), dir.join("nsvm-agent")];
    places.into_iter().find(|place| place.is_file())
}

fn path(variable: &str) -> anyhow::Result<Option<PathBuf>> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    value.map(|value| Ok(std::path::absolute(value)?)).transpose()
}

fn only() -> anyhow::Result<Option<Only>> {
    match std::env::var("BENCH_ONLY").unwrap_or_default().as_str() {
        "" => Ok(None),
        "images" => Ok(Some(Only::Images)),
        "machine" => Ok(Some(Only::Machine)),
        "suspend" => Ok(Some(Only::Suspend)),
        "templates" => Ok(Some(Only::Templates)),
        other => {
            bail!(
                "BENCH_ONLY={other} is none of \"images\", \"machine\", \"suspend\", \"templates\""
            )
        }
    }
}

fn count(variable: &str, usual: usize) -> anyhow::Result<usize> {
    let Ok(text) = std::env::var(variable) else { return Ok(usual) };
    let wrong = || format!("{variable}={text} is not a number from 1 on");
    let count = text.parse().with_context(wrong)?;
    ensure!(count > 0, wrong());
    Ok(count)
}
