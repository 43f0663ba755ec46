//! The same VM without nsvm: QEMU by its own command line, and `ssh`.
//!
//! The line is the one that nsvm's QEMU was seen running with; only names,
//! sockets, files of its own and the port differ. The disk starts as a copy of
//! the machine's disk before its first boot, and the same Ignition config
//! provisions it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::children::{self, Heed};
use super::machine::Facts;
use super::monitor::Monitor;
use super::ssh::Ssh;
use super::{proc, say};

/// A translated guest's first boot on a busy host.
const BOOT: Duration = Duration::from_secs(300);
/// QEMU's sockets are there after milliseconds.
const CONNECT: Duration = Duration::from_secs(20);
/// When nsvm begins to knock at a guest that stays silent.
const KNOCK_AFTER: Duration = Duration::from_secs(40);
/// How long signals may go unnoticed, and a knock unanswered.
const TICK: Duration = Duration::from_secs(1);
const POWERDOWN: Duration = Duration::from_secs(120);
/// One try of `ssh true` once the guest says that sshd listens.
const LOGIN: Duration = Duration::from_secs(30);

/// What nsvm tells a guest at each start, in a file that goes with the run.
const PASSED: &str = "name=opt/nsvm/environment,file=";

/// A guest that QEMU runs for us alone.
#[derive(Debug)]
pub struct Bare {
    argv: Vec<String>,
    dir: PathBuf,
    ssh: Ssh,
    running: Option<Child>,
    /// Boots in which the guest never said that it is ready.
    silent: usize,
}

/// What one start of it took.
#[derive(Debug, Clone, Copy)]
pub struct Boot {
    pub wall: Duration,
    /// Of QEMU, in seconds.
    pub cpu: f64,
}

impl Bare {
    /// Like the QEMU whose words `argv` are, below `dir`. The disk `pristine`
    /// becomes its own.
    pub fn like(
        argv: &[String],
        facts: Facts,
        dir: &Path,
        pristine: &Path,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let argv = rewrite(argv, dir, port);
        // No proxies: there is nothing to be told.
        for path in argv.iter().filter_map(|word| word.strip_prefix(PASSED)) {
            File::create(path.replace(",,", ","))?;
        }
        let disk = dir.join(facts.overlay.file_name().context("the disk has no name")?);
        fs::rename(pristine, &disk)?;
        let here = |word: &&String| word.contains(&*disk.to_string_lossy());
        ensure!(argv.iter().filter(here).count() == 1, "QEMU's disk is not where it is expected");
        let ssh = Ssh::of(&Facts { port, ..facts }, dir)?;
        Ok(Self { argv, dir: dir.to_owned(), ssh, running: None, silent: 0 })
    }

    /// How many there are, the program not counted.
    pub fn arguments(&self) -> usize {
        self.argv.len() - 1
    }

    /// Boots whose end was only found by knocking, which begins late.
    pub fn silent_boots(&self) -> usize {
        self.silent
    }

    pub fn program(&self) -> &Path {
        Path::new(&self.argv[0])
    }

    /// Boots it to the first `ssh true` that succeeds.
    ///
    /// Knocking at the port would slow the guest down, and QEMU accepts
    /// connections long before the guest does. So this waits, as nsvm does,
    /// for the word that the guest writes to its virtio port when sshd
    /// listens, and tries only then, one try at a time. Should no word come,
    /// it knocks, as late and as rarely as nsvm.
    pub fn boot(&mut self) -> anyhow::Result<Boot> {
        let log = File::create(self.dir.join("qemu.log"))?;
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let start = Instant::now();
        let child = self.running.insert(command.spawn().context("starting QEMU")?);
        let pid = i32::try_from(child.id())?;
        self.wait_for_sshd(start).with_context(|| {
            let said = fs::read_to_string(self.dir.join("qemu.log")).unwrap_or_default();
            format!("the bare QEMU, which says \"{}\"", said.trim())
        })?;
        while let Err(e) = self.ssh.fresh(&["true"], LOGIN) {
            ensure!(start.elapsed() < BOOT, "no login into the bare guest: {e:#}");
            children::sleep(Duration::from_millis(100))?;
        }
        Ok(Boot { wall: start.elapsed(), cpu: proc::cpu_seconds(pid)? })
    }

    /// Returns when the guest has said its word, or when its sshd has answered
    /// a knock.
    fn wait_for_sshd(&mut self, start: Instant) -> anyhow::Result<()> {
        let mut ready = self.connect("ready.sock", start + CONNECT)?;
        let mut seen = Vec::new();
        let mut buffer = [0; 64];
        while !String::from_utf8_lossy(&seen).contains("ready") {
            // The read is for the deadline and for signals: a word wakes it.
            match ready.read(&mut buffer) {
                Ok(0) => bail!("the bare guest ended: {}", self.last_words()),
                Ok(n) => seen.extend_from_slice(&buffer[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    children::sleep(Duration::ZERO)?;
                    self.alive_until(start + BOOT)?;
                }
                Err(e) => return Err(e.into()),
            }
            if start.elapsed() > KNOCK_AFTER && self.ssh.banner(TICK) {
                say("The bare guest answered a knock before it said that it is ready");
                self.silent += 1;
                return Ok(());
            }
        }
        Ok(())
    }

    /// QEMU creates its sockets right after its start.
    fn connect(&mut self, socket: &str, end: Instant) -> anyhow::Result<UnixStream> {
        loop {
            if let Ok(stream) = UnixStream::connect(self.dir.join(socket)) {
                stream.set_read_timeout(Some(TICK))?;
                return Ok(stream);
            }
            self.alive_until(end)?;
            children::sleep(Duration::from_millis(5))?;
        }
    }

    fn alive_until(&mut self, end: Instant) -> anyhow::Result<()> {
        ensure!(Instant::now() < end, "the bare guest is not up in time: {}", self.last_words());
        let ended = self.running.as_mut().map(Child::try_wait).transpose()?.flatten();
        ensure!(ended.is_none(), "the bare QEMU ended: {}", self.last_words());
        Ok(())
    }

    /// What QEMU and the guest said last.
    fn last_words(&self) -> String {
        let read = |name| fs::read(self.dir.join(name)).unwrap_or_default();
        let said = [read("qemu.log"), read("serial.log")].concat();
        let said = String::from_utf8_lossy(&said[said.len().saturating_sub(1000)..]).into_owned();
        said.trim().to_owned()
    }

    /// Where its memory is while it is suspended.
    pub fn memory(&self) -> PathBuf {
        self.dir.join("memory")
    }

    fn monitor(&mut self) -> anyhow::Result<Monitor> {
        Monitor::new(self.connect("qmp.sock", Instant::now() + CONNECT)?)
    }

    /// From its next start on: QEMU's sandbox lets it start no program, and its
    /// memory goes through one.
    pub fn without_sandbox(&mut self) {
        if let Some(at) = self.argv.iter().position(|word| word == "-sandbox") {
            self.argv.drain(at..at + 2);
        }
    }

    /// Writes its memory to a file, synced, and ends QEMU.
    pub fn suspend(&mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let mut monitor = self.monitor()?;
        monitor.ask("stop", Value::Null)?;
        monitor.ask("migrate-set-parameters", json!({ "max-bandwidth": 1_u64 << 40 }))?;
        let to = format!("exec:cat >'{}'", self.memory().display());
        monitor.ask("migrate", json!({ "uri": to }))?;
        monitor.wait("query-migrate", |status| status == "completed")?;
        File::open(self.memory())?.sync_all()?;
        // It may hang up before it answers.
        let _ = monitor.ask("quit", Value::Null);
        let child = self.running.as_mut().context("it does not run")?;
        children::wait(child, CONNECT, Heed::Signals).context("ending the bare QEMU")?;
        self.running = None;
        Ok(start.elapsed())
    }

    /// Goes on from that file, to the first `ssh true` that succeeds.
    pub fn resume(&mut self) -> anyhow::Result<Boot> {
        let log = File::create(self.dir.join("qemu.log"))?;
        let from = format!("exec:cat '{}'", self.memory().display());
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .args(["-S", "-incoming", &from])
            .current_dir("/")
            .process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let start = Instant::now();
        let child = self.running.insert(command.spawn().context("starting QEMU")?);
        let pid = i32::try_from(child.id())?;
        let mut monitor = self.monitor()?;
        monitor.wait("query-status", |status| status != "inmigrate")?;
        monitor.ask("cont", Value::Null)?;
        drop(monitor);
        while let Err(e) = self.ssh.fresh(&["true"], LOGIN) {
            ensure!(start.elapsed() < BOOT, "no login into the bare guest: {e:#}");
            children::sleep(Duration::from_millis(20))?;
        }
        Ok(Boot { wall: start.elapsed(), cpu: proc::cpu_seconds(pid)? })
    }

    /// Presses the power button and waits until it is off.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let Some(child) = self.running.as_mut() else { return Ok(()) };
        let mut monitor = UnixStream::connect(self.dir.join("qmp.sock"))?;
        monitor.write_all(
            b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"system_powerdown\"}\n",
        )?;
        children::wait(child, POWERDOWN, Heed::Signals).context("stopping the bare guest")?;
        self.running = None;
        Ok(())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        if let Some(child) = &mut self.running {
            children::end(child);
        }
    }
}

/// A port that nobody has now.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The same words with another name, another port, and `dir` as the place of
/// the files that a VM has to itself. What comes from outside (firmware, the
/// Ignition config) stays.
fn rewrite(argv: &[String], dir: &Path, port: u16) -> Vec<String> {
    argv.iter().map(|word| rewrite_word(word, dir, port)).collect()
}

fn rewrite_word(word: &str, dir: &Path, port: u16) -> String {
    // nsvm writes a path as an option's last value, but for a disk's, which its
    // base follows. A comma in it is doubled.
    let own = ["file.filename=", "append=on,path=", "wait=off,path=", PASSED];
    if let Some(key) = own.into_iter().find(|key| word.contains(key)) {
        let (before, path) = word.split_once(key).unwrap_or((word, ""));
        let (path, base) = path.split_at(path.find(",backing.driver=").unwrap_or(path.len()));
        let file = path.rsplit('/').next().unwrap_or(path);
        return format!("{before}{key}{}/{file}{base}", dir.to_string_lossy().replace(',', ",,"));
    }
    if word.starts_with("guest=") {
        return "guest=bare".to_owned();
    }
    let forward = "hostfwd=tcp:127.0.0.1:";
    match word.split_once(forward).and_then(|(before, rest)| Some((before, rest.split_once('-')?)))
    {
        Some((before, (_, to))) => format!("{before}{forward}{port}-{to}"),
        None => word.to_owned(),
    }
}

#[cfg(test)]
#[allow(dead_code, unused_imports)] // the benchmark itself has no harness: tests/bench.rs
mod tests {
    use super::*;

    #[test]
    fn only_what_two_vms_cannot_share_differs() {
        let argv = [
            "/usr/bin/qemu-system-x86_64",
            "-name",
            "guest=nsvm-t,process=nsvm-t",
            "-blockdev",
            "driver=qcow2,node-name=disk0,file.driver=file,file.filename=/h/a b/disk.qcow2,\
             backing.driver=qcow2,backing.file.driver=file,backing.file.filename=/c/b.qcow2",
            "-netdev",
            "user,id=net0,hostfwd=tcp:127.0.0.1:40000-:22",
            "-chardev",
            "socket,id=ready,server=on,wait=off,path=/h/run/ready.sock",
            "-chardev",
            "file,id=serial0,append=on,path=/h/serial.log",
            "-fw_cfg",
            "name=opt/com.coreos/config,file=/h/t.ign",
            "-fw_cfg",
            "name=opt/nsvm/environment,file=/h/run/environment",
        ];
        let argv = argv.map(str::to_owned);
        let bare = rewrite(&argv, Path::new("/b"), 50);
        let changed = argv.iter().zip(&bare).filter(|(old, new)| old != new).map(|(_, new)| new);
        let expected = [
            "guest=bare",
            "driver=qcow2,node-name=disk0,file.driver=file,file.filename=/b/disk.qcow2,\
             backing.driver=qcow2,backing.file.driver=file,backing.file.filename=/c/b.qcow2",
            "user,id=net0,hostfwd=tcp:127.0.0.1:50-:22",
            "socket,id=ready,server=on,wait=off,path=/b/ready.sock",
            "file,id=serial0,append=on,path=/b/serial.log",
            "name=opt/nsvm/environment,file=/b/environment",
        ];
        assert_eq!(changed.collect::<Vec<_>>(), expected);
    }
}
