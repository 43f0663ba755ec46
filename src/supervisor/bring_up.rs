//! From nothing, or from a VM that lost its supervisor, to a machine that
//! commands can use. Tells the driver of each thing it gets hold of at once,
//! so that a cancelled start can be undone completely.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::driver::{Happening, Spawned, Sshd};
use super::feed::Feed;
use super::launch::{self, Beginning, default_timeout};
use super::lifecycle::Failure;
use super::readiness::{AGENT, Checks, QEMU, SSHD};
use super::resume::Resumed;
use super::template::{self, Begun, Made};
use super::vm::QMP_PATIENCE;
use crate::app::Context;
use crate::fs::is_locked;
use crate::link::{AgentBinary, Link, Target, answers_as_ssh};
use crate::machine::config::MachineConfig;
use crate::qemu::command::{Entry, Ram};
use crate::qemu::facts::Facts;
use crate::qemu::process::{Life, own_words};
use crate::qemu::qmp::{Qmp, QmpError, QmpEvent};
use crate::qemu::ready;

/// The guest's ready signal is cheap; knocking on its port is not, so that
/// begins only when a guest of ours has been silent for this long.
const KNOCK_AFTER: Duration = Duration::from_secs(40);

/// The same for a translated guest. sshd is up before certificates, swap and
/// cloud-init's last step are, and the guest tells the host after those: a
/// first boot of Debian with cloud-init takes one to two minutes.
const KNOCK_AFTER_TRANSLATED: Duration = Duration::from_secs(150);

/// How often to knock, and how long to listen for an answer each time.
const KNOCK_INTERVAL: Duration = Duration::from_secs(1);

/// An agent that was there before answers at its port as soon as sshd does, and SSH
/// would only cost the guest time. After this long it is tried nevertheless.
pub(super) const PORT_ALONE: Duration = Duration::from_secs(3);

/// Between two attempts to dial a guest whose sshd answers.
const DIAL_AGAIN: Duration = Duration::from_millis(300);

/// QEMU creates its monitor's socket early; adopting a VM takes no longer.
const MONITOR_PATIENCE: Duration = Duration::from_secs(20);

/// A monitor and what it tells.
type Monitor = (Qmp, mpsc::UnboundedReceiver<QmpEvent>);

/// What the steps of one start share.
pub struct BringUp {
    pub context: Context,
    pub config: MachineConfig,
    pub feed: Arc<Feed>,
    pub timeout: Option<Duration>,
    pub happenings: mpsc::UnboundedSender<Happening>,
    /// Of QEMU.
    pub life: Life,
}

impl BringUp {
    /// Starts the VM, resumed or booted, and waits until it is ready.
    /// `Ok(None)`: it runs, but will never have a link, because its
    /// provisioning is the user's own.
    pub async fn start(self) -> Result<Option<Link>, Failure> {
        // Everything that can fail without a VM fails before there is one.
        let target = target(&self.context, &self.config)?;
        let facts = self.survey().await?;
        if let Resumed::Up(link) = self.resume(&facts, target.clone()).await? {
            return Ok(link);
        }
        let made = match self.begin_on_template(&facts, target.as_ref()).await? {
            Begun::Up(link) => return Ok(Some(*link)),
            Begun::Not(made) => made,
        };
        let link = self.boot(&facts, target, Ram::Own).await?;
        if made == Made::Wanted {
            template::have_made(&self.context, &self.config.name);
        }
        Ok(link)
    }

    pub(super) async fn boot(
        &self,
        facts: &Facts,
        target: Option<Dialling>,
        ram: Ram,
    ) -> Result<Option<Link>, Failure> {
        let begin = Beginning { entry: Entry::Boot, ram, life: self.life };
        let launched = self.launch(facts, begin)?;
        let translated = launched.translated;
        let timeout = self.timeout.unwrap_or(default_timeout(translated));
        let port = launched.ssh_port;
        self.tell(Happening::Spawned(Box::new(launched)));
        let paths = self.context.store.paths(&self.config.name);
        // At its first boot nothing of ours is in it, and SSH brings that.
        let known = self.context.store.history(&self.config.name).last_up.is_some();
        let table = match (&target, known) {
            (None, _) => &[QEMU, SSHD][..],
            (Some(_), false) => &[QEMU, SSHD, AGENT],
            (Some(_), true) => &[QEMU, AGENT],
        };
        let console = paths.serial_log();
        let mut checks = Checks::new(&self.feed, table, timeout, &console);
        let (monitor, events) = checks.next(self.connect(&paths.qmp_socket())).await?;
        self.tell(Happening::Monitor(Arc::new(monitor), events));
        let patience = knock_after(&self.config, translated);
        let sshd = sshd_answers(paths.ready_socket(), ssh_address(port), patience);
        let dialling = match target {
            Some(dialling) if known => {
                let (sshd, left) = (self.hear_of(sshd, timeout), checks.left());
                let dialling = dialling.at(port);
                return checks.next(dial_at_boot(dialling, sshd, left)).await.map(Some);
            }
            other => other,
        };
        checks.next(sshd.map(Ok::<(), Failure>)).await?;
        let Some(dialling) = dialling else { return Ok(None) };
        let left = checks.left();
        checks.next(dial(dialling.at(port), Duration::ZERO, left)).await.map(Some)
    }

    /// Has the driver know when the guest's sshd answers, should it within this time.
    pub(super) fn hear_of(
        &self,
        sshd: impl Future<Output = ()> + Send + 'static,
        patience: Duration,
    ) -> watch::Receiver<bool> {
        self.tell(Happening::Sshd(Sshd::Awaited));
        let (heard, answers) = watch::channel(false);
        let happenings = self.happenings.clone();
        tokio::spawn(async move {
            if tokio::time::timeout(patience, sshd).await.is_err() {
                return tracing::warn!("the guest's sshd has not answered");
            }
            let _ = happenings.send(Happening::Sshd(Sshd::Answers));
            heard.send_replace(true);
            // Whoever asks later finds it so.
            heard.closed().await;
        });
        answers
    }

    /// Finds the VM that an earlier supervisor left. If that died while it was
    /// suspending, the guest still stands.
    pub async fn adopt(&self) -> Result<(), Failure> {
        let socket = self.context.store.paths(&self.config.name).qmp_socket();
        let (monitor, events) = self.connect(&socket).await?;
        let monitor = Arc::new(monitor);
        let asked = monitor.clone();
        let going_on = tokio::task::spawn_blocking(move || {
            let status = asked.query_status(QMP_PATIENCE)?;
            if matches!(status.as_str(), "paused" | "postmigrate" | "finish-migrate") {
                tracing::info!(status, "the guest stands still: it goes on");
                asked.execute("cont", Value::Null, QMP_PATIENCE)?;
            }
            Ok(())
        });
        let gone_on = going_on.await.map_err(|e| failed(format!("asking QEMU: {e}")))?;
        gone_on.map_err(|e: QmpError| failed(e.to_string()))?;
        self.tell(Happening::Monitor(monitor, events));
        let run = self.context.store.run_record(&self.config.name);
        if let Some(run) = run.filter(|run| run.sshd_awaited) {
            // Its word may have gone to the supervisor that is no more.
            let address = ssh_address(run.ssh_port);
            let ready = self.context.store.paths(&self.config.name).ready_socket();
            drop(self.hear_of(sshd_answers(ready, address, Duration::ZERO), default_timeout(true)));
        }
        Ok(())
    }

    pub(super) async fn survey(&self) -> Result<Facts, Failure> {
        let (context, config, feed) =
            (self.context.clone(), self.config.clone(), self.feed.clone());
        let surveying =
            tokio::task::spawn_blocking(move || launch::survey(&context, &config, &*feed));
        surveying.await.map_err(|e| failed(format!("looking at QEMU: {e}")))?
    }

    /// No await lies between QEMU's start and what the driver is told: a start
    /// that is cancelled cannot lose the process.
    pub(super) fn launch(&self, facts: &Facts, begin: Beginning) -> Result<Spawned, Failure> {
        launch::launch(&self.context, &self.config, facts, begin, &*self.feed)
    }

    /// Connects to QEMU's monitor and proves that it is this machine's.
    pub(super) async fn connect(&self, socket: &Path) -> Result<Monitor, Failure> {
        let socket = socket.to_owned();
        let paths = self.context.store.paths(&self.config.name);
        let connecting = tokio::task::spawn_blocking(move || -> Result<_, Failure> {
            let alive = || is_locked(&paths.vm_lock()).unwrap_or(true);
            let refused = |e: QmpError| refused(&e, &paths.qemu_log());
            let (monitor, events) =
                Qmp::connect(&socket, MONITOR_PATIENCE, alive).map_err(refused)?;
            let uuid = monitor.query_uuid(QMP_PATIENCE).map_err(refused)?;
            Ok((monitor, events, uuid))
        });
        let (monitor, events, uuid) =
            connecting.await.map_err(|e| failed(format!("asking QEMU: {e}")))??;
        if !uuid.eq_ignore_ascii_case(&self.config.uuid) {
            return Err(failed(format!("the QEMU there has the UUID {uuid}: it is another VM")));
        }
        Ok((monitor, events))
    }

    pub(super) fn tell(&self, happening: Happening) {
        let _ = self.happenings.send(happening);
    }
}

/// A guest that has nothing of ours never tells.
fn knock_after(config: &MachineConfig, translated: bool) -> Duration {
    match (config.provisioning.is_ours(), translated) {
        (false, _) => Duration::ZERO,
        (true, false) => KNOCK_AFTER,
        (true, true) => KNOCK_AFTER_TRANSLATED,
    }
}

/// The monitor's error, with what QEMU itself said.
fn refused(error: &QmpError, log: &Path) -> Failure {
    let words = own_words(log);
    let said = if words.is_empty() { String::new() } else { format!(" (QEMU said: {words})") };
    Failure { message: format!("{error}{said}"), hint: error.hint() }
}

pub(super) fn failed(message: String) -> Failure {
    Failure { message, hint: None }
}

impl From<crate::link::LinkError> for Failure {
    fn from(error: crate::link::LinkError) -> Self {
        Self { message: error.to_string(), hint: error.hint() }
    }
}

pub fn ssh_address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Whom the link dials and what it installs there.
#[derive(Clone)]
pub struct Dialling {
    pub target: Target,
    pub agent: Arc<AgentBinary>,
}

impl Dialling {
    pub fn at(mut self, ssh_port: u16) -> Self {
        self.target.address = ssh_address(ssh_port);
        self
    }
}

/// `None` when nothing of ours is in the guest.
pub fn target(context: &Context, config: &MachineConfig) -> Result<Option<Dialling>, Failure> {
    let pinned = config.ssh.host_key.clone().filter(|_| config.provisioning.is_ours());
    let Some(host_key) = pinned else { return Ok(None) };
    let path = context.store.paths(&config.name).identity();
    let identity = std::fs::read_to_string(&path)
        .map_err(|e| failed(format!("reading the machine's key \"{}\": {e}", path.display())))?;
    let agent = context
        .agent_for(config.image.arch)
        .map_err(|e| Failure { message: e.message, hint: e.hint })?;
    let agent = Arc::new(AgentBinary::read(&agent)?);
    let address = ssh_address(config.ssh.port);
    let port = context.store.paths(&config.name).link_socket();
    let user = config.ssh.username.clone();
    let target = Target { port, address, user, identity, host_key };
    Ok(Some(Dialling { target, agent }))
}

/// Dials until it works, fails for good, or the time is over: sshd may break
/// off a connection while the guest is still coming up.
pub(super) async fn dial(
    dialling: Dialling,
    alone: Duration,
    patience: Duration,
) -> Result<Link, crate::link::LinkError> {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let Dialling { target, agent } = dialling.clone();
        match Link::dial(target, agent, alone, left).await {
            Err(e) if e.is_transient() && Instant::now() + DIAL_AGAIN < end => {
                tracing::info!("dialling the guest: {e}");
            }
            decided => return decided,
        }
        tokio::time::sleep(DIAL_AGAIN).await;
    }
}

/// Dials a guest that has had an agent before: that comes up by itself, often before
/// sshd does. When it does not, or is another one, sshd is waited for and used.
async fn dial_at_boot(
    dialling: Dialling,
    mut sshd: watch::Receiver<bool>,
    patience: Duration,
) -> Result<Link, crate::link::LinkError> {
    let end = Instant::now() + patience;
    let mut answers = sshd.clone();
    let too_late = async {
        until_heard(&mut answers).await;
        tokio::time::sleep(PORT_ALONE).await;
    };
    let (target, agent) = (&dialling.target, &dialling.agent);
    let answer = tokio::select! {
        answer = Link::answer_at_boot(target, agent) => Some(answer),
        () = too_late => None,
    };
    if let Some(answer) = answer {
        if let Some(link) = Link::by_answer(answer, target, agent).await {
            return Ok(link);
        }
        until_heard(&mut sshd).await;
    }
    dial(dialling, Duration::ZERO, end.saturating_duration_since(Instant::now())).await
}

/// Pends for ever when it will not be heard of: the caller has the deadline.
async fn until_heard(sshd: &mut watch::Receiver<bool>) {
    if sshd.wait_for(|answers| *answers).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Ends when the guest says that its sshd listens, or when that answers a
/// knock.
pub(super) async fn sshd_answers(
    ready_socket: PathBuf,
    address: SocketAddr,
    knock_after: Duration,
) {
    tokio::select! {
        () = ready_signal(&ready_socket) => tracing::info!("the guest said that it is ready"),
        () = knock(address, knock_after) => tracing::info!("the guest's sshd answered a knock"),
    }
}

/// The guest's word on its virtio port. Pends for ever when none comes: the
/// caller has the deadline.
async fn ready_signal(socket: &Path) {
    let (heard, ready) = oneshot::channel();
    let socket = socket.to_owned();
    // A thread of its own: it ends when QEMU closes the socket.
    std::thread::spawn(move || {
        if ready::wait(&socket).is_ok() {
            let _ = heard.send(());
        }
    });
    if ready.await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn knock(address: SocketAddr, after: Duration) {
    tokio::time::sleep(after).await;
    loop {
        let knocking = move || answers_as_ssh(address, KNOCK_INTERVAL);
        if tokio::task::spawn_blocking(knocking).await.unwrap_or(false) {
            return;
        }
        tokio::time::sleep(KNOCK_INTERVAL).await;
    }
}
