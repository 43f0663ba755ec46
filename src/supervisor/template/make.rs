//! Making a template: a hidden machine boots, is frozen and saved, and a copy of it
//! is tried. Whatever ends this, nothing is left that anybody would use.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::begin::Broken;
use super::hidden;
use super::shape;
use crate::app::Context;
use crate::host;
use crate::image::{Cache, Making, TemplateFiles, written};
use crate::link::Link;
use crate::machine::config::MachineConfig;
use crate::machine::event::Silent;
use crate::machine::name::MachineName;
use crate::machine::suspended::Memory;
use crate::machine::template::{Shape, Template, VERSION, boots_because};
use crate::qemu::command::Ram;
use crate::qemu::facts::Facts;
use crate::qemu::migration;
use crate::qemu::process::{Life, QemuProcess};
use crate::qemu::qmp::Qmp;
use crate::qemu::ready::Freezing;
use crate::supervisor::bring_up::{BringUp, failed, target};
use crate::supervisor::driver::Happening;
use crate::supervisor::feed::Feed;
use crate::supervisor::guest::run_as_root;
use crate::supervisor::launch;
use crate::supervisor::lifecycle::{Failure, QUIT_PATIENCE};
use crate::supervisor::vm::QMP_PATIENCE;

/// All of it. Translated, with the priority it has, on a host that is busy.
const PATIENCE: Duration = Duration::from_secs(1500);

/// Whoever had the machine started is left alone for so long.
const QUIET: Duration = Duration::from_secs(3);

/// A boot with this priority, or a copy of it.
const BOOTING: Duration = Duration::from_secs(600);

/// Units that are slow to start, all of them together.
const SETTLING: Duration = Duration::from_secs(300);

/// A step of which the guest tells when it is done.
const STEP: Duration = Duration::from_secs(120);

/// Beside the memory itself, in bytes: for the disk and what QEMU needs.
const ROOM: u64 = 1 << 30;

/// Whether all units are up does not matter: a guest of which one fails is one.
const SETTLE: &str = "systemctl is-system-running --wait >/dev/null 2>&1; sync";

const FREEZE: &str = "exec /usr/local/libexec/nsvm-agent freeze \"$1\"";

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Made,
    /// It need not, or cannot now: why.
    Not(String),
}

/// Why there is no template.
enum Trouble {
    /// There never will be of this shape.
    Never(Failure),
    Now(Failure),
}

impl From<Failure> for Trouble {
    fn from(why: Failure) -> Self {
        Self::Now(why)
    }
}

/// Starts a process of its own that makes a template for machines like this one.
/// Nobody waits for it.
pub fn have_made(context: &Context, name: &MachineName) {
    if let Err(e) = spawn(context, name) {
        tracing::warn!("having a template made: {e}");
    }
}

fn spawn(context: &Context, name: &MachineName) -> std::io::Result<()> {
    let log = context.store.paths(name).template_log();
    let log = OpenOptions::new().create(true).write(true).truncate(true).open(log)?;
    let mut command = Command::new(&context.program);
    command.arg("make-template").arg(name.as_str());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    host::detach(&mut command);
    let mut child = command.spawn()?;
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// Makes the template of this machine's shape, unless there is one.
pub fn make(context: &Context, name: &MachineName) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| failed(format!("starting: {e}")))?;
    runtime.block_on(async {
        tokio::time::sleep(QUIET).await;
        let config = context.store.load(name).map_err(|e| failed(e.to_string()))?;
        match tokio::time::timeout(PATIENCE, make_of(context, &config)).await {
            Ok(made) => made,
            Err(_) => Err(failed(format!("it took longer than {} s", PATIENCE.as_secs()))),
        }
    })
}

async fn make_of(context: &Context, like: &MachineConfig) -> Result<Outcome, Failure> {
    let not = |why: &str| Ok(Outcome::Not(why.to_owned()));
    let facts = launch::survey(context, like, &Silent)?;
    if let Some(reason) = boots_because(like).or_else(|| shape::impossible_here(&facts)) {
        return not(reason);
    }
    let Some(dialling) = target(context, like)? else { return not("nothing of ours is in it") };
    let shape = shape::of(context, like, &facts, dialling.agent.sha256())?;
    let digest = shape.digest();
    let cache = Cache::open(&context.store.dirs().cache).map_err(|e| failed(e.to_string()))?;
    match cache.template(&digest) {
        Ok(_) => return not("there is one"),
        Err(Some(reason)) => return not(&reason),
        Err(None) => {}
    }
    if let Some(reason) = short_of(cache.dir(), like.resources.memory.bytes()) {
        return not(reason);
    }
    let making = cache.make_template(&digest).map_err(|e| failed(format!("beginning: {e}")))?;
    let Some(making) = making else { return not("somebody else makes it") };
    let hidden = hidden::context(context, making.work());
    match freeze_and_try(&hidden, like, &facts, &making, shape).await {
        Ok(()) => Ok(Outcome::Made),
        Err(Trouble::Now(why)) => Err(why),
        Err(Trouble::Never(why)) => {
            if let Err(e) = cache.refuse_template(&digest, &why.message) {
                tracing::warn!("noting that there is no template: {e}");
            }
            Err(why)
        }
    }
}

/// What this host lacks now.
fn short_of(dir: &Path, memory: u64) -> Option<&'static str> {
    if host::memory_available().is_some_and(|free| free < memory + ROOM) {
        return Some("this host is short of memory");
    }
    let space = host::disk_space(dir).map(|(free, _)| free);
    space.is_ok_and(|free| free < memory + 2 * ROOM).then_some("the cache is short of disk space")
}

async fn freeze_and_try(
    hidden: &Context,
    like: &MachineConfig,
    facts: &Facts,
    making: &Making<'_>,
    shape: Shape,
) -> Result<(), Trouble> {
    let digest = shape.digest();
    let files = TemplateFiles::below(&making.work().join("made"));
    let trouble = |e: std::io::Error| failed(format!("writing the template: {e}"));
    fs::create_dir(files.dir()).map_err(trouble)?;
    let frozen = hidden::machine(hidden, like, hidden::name("t", &digest)?).await?;
    let devices = freeze(hidden, &frozen, facts, &files).await?;
    let paths = hidden.store.paths(&frozen.name);
    fs::rename(paths.overlay(), files.disk()).map_err(trouble)?;
    files.sync().map_err(trouble)?;
    let template = Template {
        version: VERSION,
        made: Timestamp::now(),
        image: like.image.source.clone(),
        username: like.ssh.username.clone(),
        shape,
        memory: written(&files.memory()).map_err(trouble)?,
        disk: written(&files.disk()).map_err(trouble)?,
        devices,
    };
    // Before any machine relies on it.
    let copy = hidden::machine(hidden, like, hidden::name("c", &digest)?).await?;
    try_copy(hidden, copy, facts, &template, &files).await?;
    for (path, was) in [(files.memory(), template.memory), (files.disk(), template.disk)] {
        if written(&path).map_err(trouble)? != was {
            let text = format!("a copy wrote to \"{}\"", path.display());
            return Err(Trouble::Never(failed(text)));
        }
    }
    making.publish(&files, &template).map_err(trouble)?;
    Ok(())
}

/// Boots the machine on a memory in a file, freezes its guest and saves the rest.
async fn freeze(
    hidden: &Context,
    config: &MachineConfig,
    facts: &Facts,
    files: &TemplateFiles,
) -> Result<Memory, Trouble> {
    let memory = fs::File::create(files.memory())
        .and_then(|file| file.set_len(config.resources.memory.bytes()))
        .and_then(|()| host::restrict_to_owner(&files.memory()));
    memory.map_err(|e| failed(format!("making a file for the memory: {e}")))?;
    let mut work = Work::new(hidden.clone(), config.clone());
    let dialling = target(hidden, config)?;
    let link = work.bring_up.boot(facts, dialling, Ram::Written(files.memory())).await?;
    let link = link.ok_or_else(|| failed("there is no link to it".into()))?;
    run_as_root(&link, SETTLE, &[], SETTLING).await.map_err(failed)?;
    let key = fs::read_to_string(hidden.store.paths(&config.name).identity_public());
    let key = key.map_err(|e| failed(format!("reading its key: {e}")))?;
    let socket = hidden.store.paths(&config.name).ready_socket();
    let freezing = spawn_blocking(move || Freezing::of(&socket)).await;
    let freezing = freezing.map_err(|e| failed(e.to_string()))?;
    let freezing = freezing.map_err(|e| failed(format!("listening to the guest: {e}")))?;
    let told = run_as_root(&link, FREEZE, &[key.trim()], STEP).await;
    told.map_err(|why| Trouble::Never(failed(why)))?;
    // It waits for the end of this.
    drop(link);
    let frozen = spawn_blocking(move || freezing.wait(STEP)).await;
    let frozen = frozen.map_err(|e| failed(e.to_string()))?;
    let frozen = frozen.map_err(|e| failed(format!("waiting until it is frozen: {e}")))?;
    let (monitor, mut process) = work.qemu()?;
    let (socket, devices) = (hidden.store.paths(&config.name).memory_socket(), files.devices());
    let saving = spawn_blocking(move || {
        let saved = save(&monitor, &socket, &devices);
        end(&monitor, &mut process)?;
        saved
    });
    let saving = saving.await;
    drop(frozen);
    Ok(saving.map_err(|e| failed(e.to_string()))??)
}

fn save(monitor: &Qmp, socket: &Path, devices: &Path) -> Result<Memory, Failure> {
    let saving = |e: &dyn std::fmt::Display| failed(format!("saving it: {e}"));
    monitor.execute("stop", Value::Null, QMP_PATIENCE).map_err(|e| saving(&e))?;
    migration::leave_memory_out(monitor).map_err(|e| saving(&e))?;
    let mut file = fs::File::create(devices).map_err(|e| saving(&e))?;
    host::restrict_to_owner(devices).map_err(|e| saving(&e))?;
    migration::save(monitor, socket, &mut file, STEP).map_err(|e| saving(&e))
}

/// A copy goes on, knows whose it is, and runs a program.
async fn try_copy(
    hidden: &Context,
    config: MachineConfig,
    facts: &Facts,
    template: &Template,
    files: &TemplateFiles,
) -> Result<(), Trouble> {
    let dialling = target(hidden, &config)?.ok_or_else(|| failed("there is no link".into()))?;
    let mut work = Work::new(hidden.clone(), config);
    let begun = work.bring_up.begin_on((template, files), facts, dialling, BOOTING).await;
    let link = begun.map_err(|broken| match broken {
        Broken::Useless(why) => Trouble::Never(why),
        Broken::Failed(why) => Trouble::Now(why),
    })?;
    let name = work.bring_up.config.name.to_string();
    let asked = "[ \"$(cat /proc/sys/kernel/hostname /etc/hostname)\" = \"$1\n$1\" ]";
    run_as_root(&link, asked, &[&name], STEP)
        .await
        .map_err(|why| Trouble::Never(failed(format!("a copy has another name: {why}"))))?;
    drop::<Link>(link);
    let (monitor, mut process) = work.qemu()?;
    let ended = spawn_blocking(move || end(&monitor, &mut process)).await;
    Ok(ended.map_err(|e| failed(e.to_string()))??)
}

fn end(monitor: &Qmp, process: &mut QemuProcess) -> Result<(), Failure> {
    let _ = monitor.quit(QMP_PATIENCE);
    match process.wait_exit(QUIT_PATIENCE) {
        Ok(Some(_)) => Ok(()),
        _ => process.kill().map(drop).map_err(|e| failed(format!("ending QEMU: {e}"))),
    }
}

/// A hidden machine's start without a supervisor, and what it got hold of.
struct Work {
    bring_up: BringUp,
    told: mpsc::UnboundedReceiver<Happening>,
    process: Option<QemuProcess>,
    monitor: Option<Arc<Qmp>>,
}

impl Work {
    fn new(context: Context, config: MachineConfig) -> Self {
        let (happenings, told) = mpsc::unbounded_channel();
        let feed = Arc::new(Feed::default());
        let timeout = Some(BOOTING);
        let life = Life::Starters;
        let bring_up = BringUp { context, config, feed, timeout, happenings, life };
        Self { bring_up, told, process: None, monitor: None }
    }

    fn take(&mut self) {
        while let Ok(happening) = self.told.try_recv() {
            match happening {
                Happening::Spawned(spawned) => self.process = Some(spawned.process),
                Happening::Monitor(monitor, _) => self.monitor = Some(monitor),
                _ => {}
            }
        }
    }

    fn qemu(&mut self) -> Result<(Arc<Qmp>, QemuProcess), Failure> {
        self.take();
        let both = self.monitor.take().zip(self.process.take());
        both.ok_or_else(|| failed("there is no QEMU".into()))
    }
}

/// However it ends: no QEMU of its own is left, nor sockets.
impl Drop for Work {
    fn drop(&mut self) {
        self.take();
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
        }
        hidden::clear(&self.bring_up.context, &self.bring_up.config.name);
    }
}
