//! The machine under test, in a home of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::children::{self, Heed, Ran};
use super::proc::{self, Process};
use super::say;
use super::settings::Settings;

/// Of the machine in its home.
const NAME: &str = "bench";

const CPUS: usize = 2;
const MEMORY_MIB: &str = "1024";
const DISK_GIB: &str = "12";

/// Building the image takes minutes when no package is cached yet.
const INIT: Duration = Duration::from_secs(1800);
/// nsvm's own deadline comes first.
const START: Duration = Duration::from_secs(400);
const STOP: Duration = Duration::from_secs(200);
/// Commands that take milliseconds, on a host that is not quiet.
pub const SHORT: Duration = Duration::from_secs(60);

/// A machine that is removed when this is dropped.
#[derive(Debug)]
pub struct Machine {
    nsvm: PathBuf,
    agent: PathBuf,
    home: PathBuf,
    /// Its image has one, whose start takes longer than the agent's.
    systemd: bool,
}

/// What has to be known of it to reach it by other means.
#[derive(Debug)]
pub struct Facts {
    pub overlay: PathBuf,
    pub identity: PathBuf,
    /// `ssh-ed25519 AAAA...`
    pub host_key: String,
    pub user: String,
    pub port: u16,
    /// `tcg`, `kvm`; nothing while it does not run.
    pub accelerator: Option<String>,
}

impl Machine {
    pub fn init(settings: &Settings, home: PathBuf) -> anyhow::Result<Self> {
        let image = &*settings.image;
        say(&format!("Making a machine of {image} (an image is built when the cache has none)"));
        let (nsvm, agent) = (settings.nsvm.clone(), settings.agent.clone());
        // First of all, so that a failed init is undone, too.
        let machine = Self { nsvm, agent, home, systemd: image != "micro" };
        let cpus = std::thread::available_parallelism()?.get().min(CPUS).to_string();
        let mut init = machine.nsvm(["machine", "init", "--image", image]);
        init.args(["--cpus", &cpus, "--memory", MEMORY_MIB, "--disk-size", DISK_GIB, NAME]);
        children::run(&mut init, INIT)?;
        Ok(machine)
    }

    /// `nsvm` in this home, with the image cache that everybody shares.
    pub fn nsvm<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.nsvm);
        command.env("NSVM_HOME", &self.home).env("NSVM_AGENT", &self.agent);
        // What is measured is a boot, with nothing in the background.
        command.env("NSVM_MACHINE_TEMPLATES", "false");
        command.env("NSVM_MACHINE", NAME).env_remove("NSVM_LOG").args(words);
        command
    }

    /// `nsvm machine VERB`, of this machine.
    pub fn verb(&self, verb: &str) -> Command {
        self.nsvm(["machine", verb, NAME])
    }

    /// Returns when the agent has answered.
    pub fn start(&self) -> anyhow::Result<Ran> {
        children::run(&mut self.verb("start"), START)
    }

    /// Returns when nothing of the guest's own start goes on beside.
    pub fn start_wholly(&self) -> anyhow::Result<()> {
        self.start()?;
        let awaited: &[&str] = if self.systemd { &["ssh", "system"] } else { &["ssh"] };
        for what in awaited {
            children::run(self.verb("wait").args(["--for", what]), START)?;
        }
        Ok(())
    }

    pub fn stop(&self) -> anyhow::Result<()> {
        children::run(&mut self.verb("stop"), STOP).map(drop)
    }

    pub fn suspend(&self) -> anyhow::Result<Ran> {
        children::run(&mut self.verb("suspend"), STOP)
    }

    /// Returns when it was suspended because nothing used it.
    pub fn fall_asleep(&self) -> anyhow::Result<()> {
        let set = |time| {
            let mut set = self.nsvm(["machine", "set", "--idle-suspend", time, NAME]);
            children::run(&mut set, SHORT)
        };
        set("4s")?;
        let end = Instant::now() + STOP;
        let state = ["machine", "inspect", "--format", "{{.State}}", NAME];
        while children::run(&mut self.nsvm(state), SHORT)?.stdout.trim() != "suspended" {
            ensure!(Instant::now() < end, "it is never idle");
            children::sleep(Duration::from_millis(500))?;
        }
        set("off").map(drop)
    }

    /// Where its memory is while it is suspended.
    pub fn memory(&self) -> anyhow::Result<PathBuf> {
        Ok(self.facts()?.overlay.with_file_name("suspended.ram"))
    }

    pub fn facts(&self) -> anyhow::Result<Facts> {
        let shown: Value =
            serde_json::from_str(&children::run(&mut self.verb("inspect"), SHORT)?.stdout)?;
        let config: Value =
            serde_json::from_slice(&fs::read(text(&shown, "/0/ConfigPath/Path")?)?)?;
        Ok(Facts {
            overlay: text(&shown, "/0/Image/ImagePath/Path")?.into(),
            identity: text(&shown, "/0/SSHConfig/IdentityPath")?.into(),
            host_key: text(&config, "/Ssh/HostKey")?.to_owned(),
            user: text(&shown, "/0/SSHConfig/RemoteUsername")?.to_owned(),
            port: shown
                .pointer("/0/SSHConfig/Port")
                .and_then(Value::as_u64)
                .unwrap_or(0)
                .try_into()?,
            accelerator: text(&shown, "/0/Accelerator/InUse").ok().map(ToOwned::to_owned),
        })
    }

    /// Its supervisor, which no other home's shares the environment with.
    pub fn supervisor(&self) -> anyhow::Result<Process> {
        let home = format!("NSVM_HOME={}", self.home.display());
        let mut found = proc::find(|argv| argv.get(1).is_some_and(|word| word == "supervise"));
        found.retain(|process| proc::has_variable(process.pid, &home));
        found.pop().context("the machine's supervisor is not running")
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("there is no {pointer}"))
}

impl Facts {
    /// The machine's running QEMU: the process that has its disk.
    pub fn qemu(&self) -> anyhow::Result<Process> {
        let disk = format!("filename={}", self.overlay.display());
        let mut found = proc::find(|argv| argv.iter().any(|word| word.contains(&disk)));
        found.pop().context("the machine's QEMU is not running")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let remove = &mut self.nsvm(["machine", "rm", "-f", NAME]);
        let removed = children::attempt(remove, STOP, Heed::Nothing);
        // Should that fail, whoever still has a file of this home is ended.
        let home = self.home.to_string_lossy();
        for left in proc::find(|argv| argv.iter().any(|word| word.contains(&*home))) {
            say(&format!("ending process {}, left by the machine: {removed:?}", left.pid));
            if let Some(pid) = Pid::from_raw(left.pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
