//! Starting a machine: a detached supervisor does it, we follow its progress.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use super::stop::{self, StopRequest};
use super::{Context, Refusal, connections, hung, left_over, settle};
use crate::control::client::{Client, Hung};
use crate::control::message::{Reply, Request};
use crate::fs::create_dir_owner_only;
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::status::Status;

/// What a start shall be like.
#[derive(Debug, Clone, Copy, Default)]
pub struct StartRequest {
    /// Bounds the whole start; by default it depends on the accelerator.
    pub timeout: Option<Duration>,
    /// Return as soon as the machine is being started.
    pub in_background: bool,
}

/// Starts the machine, or resumes it, and returns when it runs. A start that somebody else
/// began is joined. `interrupted` undoes it.
pub fn start(
    context: &Context,
    name: &MachineName,
    request: StartRequest,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> anyhow::Result<()> {
    context.store.load(name)?;
    let lock = context.store.lock(name)?;
    // It may have been removed meanwhile.
    context.store.load(name)?;
    match left_over::settled_status(context, name) {
        Status::Starting => progress.note("The machine is being started already: joining in"),
        Status::Running => return Err(running(name).into()),
        Status::Suspended | Status::Stopped => spawn_supervisor(context, name, request.timeout)?,
        Status::Broken { reasons } => {
            let hint = format!("End it with `nsvm machine stop --force {name}`");
            return Err(Refusal::new(format!(
                "unable to start \"{name}\": {}",
                reasons.join("; ")
            ))
            .hint(hint)
            .into());
        }
    }
    drop(lock);
    if request.in_background {
        // What is left to do then waits for a start that is waited for.
        return Ok(());
    }
    follow(context, name, progress, interrupted)?;
    settle(context, name, progress)?;
    // The port may have moved.
    connections::refresh(context, name, progress);
    Ok(())
}

/// What a start does once the guest is up: the rest of its first boot, and of
/// changes. A guest that does not have its volumes is stopped
/// again: nothing shall be written where a volume should be.
fn settle(context: &Context, name: &MachineName, progress: &dyn Progress) -> anyhow::Result<()> {
    let config = context.store.load(name)?;
    settle::check_volumes(context, &config).or_else(|why| {
        let request = StopRequest { force: false, timeout: stop::PATIENCE };
        stop::stop(context, name, request, progress)?;
        Err(why)
    })?;
    if let Err(e) = settle::grow(context, &config, progress) {
        progress.warn(format!("{e:#}"));
    }
    settle::play(context, &config, progress)
}

/// Starts the machine unless it runs, and returns when it does; a start or stop
/// that somebody else began meanwhile is no error.
pub fn ensure_started(
    context: &Context,
    name: &MachineName,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> anyhow::Result<()> {
    context.store.load(name)?;
    if context.store.status(name) == Status::Running {
        return Ok(());
    }
    let started = start(context, name, StartRequest::default(), progress, interrupted);
    // Somebody else was faster.
    if started.is_err() && context.store.status(name) == Status::Running {
        return Ok(());
    }
    started
}

fn running(name: &MachineName) -> Refusal {
    Refusal::new(format!("unable to start \"{name}\": already running"))
}

/// Starts the supervisor and waits until it listens.
pub fn spawn_supervisor(
    context: &Context,
    name: &MachineName,
    timeout: Option<Duration>,
) -> anyhow::Result<()> {
    let paths = context.store.paths(name);
    create_dir_owner_only(&paths.state_dir())
        .with_context(|| format!("creating \"{}\"", paths.state_dir().display()))?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(paths.supervisor_log())
        .with_context(|| format!("opening \"{}\"", paths.supervisor_log().display()))?;
    let mut command = Command::new(&context.program);
    command.arg("supervise").arg(name.as_str());
    if let Some(timeout) = timeout {
        command.arg("--timeout").arg(timeout.as_secs().max(1).to_string());
    }
    command.envs(context.log.map(|level| ("NSVM_LOG", level)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    crate::host::detach(&mut command);
    let child = command
        .spawn()
        .with_context(|| format!("starting the supervisor of machine \"{name}\""))?;
    wait_for_greeting(child)
}

/// A supervisor greets at once, or when its predecessor and a QEMU that was
/// left over have ended, which takes 25 s at most.
const GREETING_PATIENCE: Duration = Duration::from_secs(60);

/// The supervisor's one line: `ready`, or why it cannot be.
fn wait_for_greeting(mut child: Child) -> anyhow::Result<()> {
    let stdout = child.stdout.take().ok_or_else(|| anyhow!("the supervisor has no stdout"))?;
    let (said, heard) = mpsc::channel();
    // Ends at the latest with the supervisor: the pipe is then closed.
    std::thread::Builder::new().name("greeting".to_owned()).spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout).take(64 * 1024).read_line(&mut line);
        let _ = said.send(read.map(|_| line));
    })?;
    let Ok(line) = heard.recv_timeout(GREETING_PATIENCE) else {
        let _ = child.kill().and_then(|()| child.wait());
        bail!("the supervisor said nothing for {} s and was ended", GREETING_PATIENCE.as_secs());
    };
    let line = line?;
    if line.trim_end() == GREETING {
        return Ok(());
    }
    let status = child.wait()?;
    match serde_json::from_str(&line) {
        Ok(Reply::Failed { message, hint }) => Err(Refusal { message, hint }.into()),
        _ => Err(anyhow!("the supervisor ended at once ({status})")),
    }
}

/// What the supervisor says on stdout once it listens.
pub const GREETING: &str = "ready";

/// Shows the start's events until it is decided.
fn follow(
    context: &Context,
    name: &MachineName,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> anyhow::Result<()> {
    let socket = context.store.paths(name).control_socket();
    let gone = || {
        anyhow!(
            "the supervisor of machine \"{name}\" ended: see `nsvm machine logs --supervisor {name}`"
        )
    };
    let mut client =
        Client::ask(&socket, &Request::Watch).map_err(|e| anyhow!(e).context(gone()))?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| cancel_when_interrupted(&socket, interrupted, &done));
        let result = match client.last_reply(progress) {
            Ok(reply) => Refusal::in_reply(reply).map_err(Into::into),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(gone()),
            Err(e) => Err(match Hung::of(&e) {
                Some(hung) => end_hung(context, name, hung, progress),
                None => anyhow!(e).context(gone()),
            }),
        };
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// What is left when it hangs is a VM without a supervisor, as after its death.
fn end_hung(
    context: &Context,
    name: &MachineName,
    hung: Hung,
    progress: &dyn Progress,
) -> anyhow::Error {
    if let Err(e) = hung::end(context, name, hung, |text| progress.warn(text)) {
        return e;
    }
    Refusal::new(format!("the supervisor of machine \"{name}\" had to be ended"))
        .hint(format!("The next command finds the VM; `nsvm machine stop --force {name}` ends it"))
        .into()
}

/// Whoever follows the start learns of its end; a supervisor that hangs is their
/// business.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);

/// A Ctrl-C undoes the start. The flag is set by a signal, which can wake
/// nobody portably, so it is looked at every 50 ms.
fn cancel_when_interrupted(socket: &std::path::Path, flag: &AtomicBool, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        if flag.load(Ordering::Relaxed) {
            if let Ok(mut client) = Client::ask(socket, &Request::Cancel) {
                let _ = client.reply_within(CANCEL_PATIENCE);
            }
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
