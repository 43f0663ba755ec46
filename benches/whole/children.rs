//! Runs other programs: timed, with a deadline, and ended by a signal to us.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Readable for ever once a signal has come.
static SIGNALS: OnceLock<UnixStream> = OnceLock::new();

/// What a signal to this process does to a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heed {
    /// It fails, so that everything is undone.
    Signals,
    /// Nothing: this is the undoing.
    Nothing,
}

/// How a program ran.
#[derive(Debug)]
pub struct Ran {
    /// From just before its start until it was seen to have ended.
    pub wall: Duration,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// From now on Ctrl-C, TERM and HUP let the current wait fail.
pub fn heed_signals() -> anyhow::Result<()> {
    let (read, write) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    let _ = SIGNALS.set(read);
    Ok(())
}

/// Runs it to a successful end; fails with its own words otherwise.
pub fn run(command: &mut Command, limit: Duration) -> anyhow::Result<Ran> {
    let ran = attempt(command, limit, Heed::Signals)?;
    if !ran.status.success() {
        bail!("{} ended with {}: {}", name(command), ran.status, ran.stderr.trim());
    }
    Ok(ran)
}

/// Runs it to whatever end. In a process group of its own: the terminal's
/// Ctrl-C is for us, and what we undo must not be killed by it.
pub fn attempt(command: &mut Command, limit: Duration, heed: Heed) -> anyhow::Result<Ran> {
    // Files, not pipes: a daemon that a program leaves keeps a pipe open.
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(err.try_clone()?);
    command.process_group(0);
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("starting {}", name(command)))?;
    let ended = wait(&mut child, limit, heed);
    let wall = start.elapsed();
    let status = match ended {
        Ok(status) => status,
        Err(e) => {
            end(&mut child);
            return Err(e.context(format!("waiting for {}", name(command))));
        }
    };
    Ok(Ran { wall, status, stdout: text(&mut out)?, stderr: text(&mut err)? })
}

/// Waits for its end and is woken by it, so that this adds nothing to a time.
pub fn wait(child: &mut Child, limit: Duration, heed: Heed) -> anyhow::Result<ExitStatus> {
    let end = Instant::now() + limit;
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
    if heed == Heed::Signals {
        fds.extend(SIGNALS.get().map(|signals| PollFd::new(signals, PollFlags::IN)));
    }
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match poll(&mut fds, Some(&Timespec::try_from(left)?)) {
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
            Ok(0) => bail!("it did not end within {} s", limit.as_secs()),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(child.wait()?),
            Ok(_) => bail!("interrupted"),
        }
    }
}

/// Sleeps; fails when a signal has come.
pub fn sleep(time: Duration) -> anyhow::Result<()> {
    let mut fds: Vec<_> =
        SIGNALS.get().map(|s| PollFd::new(s, PollFlags::IN)).into_iter().collect();
    match poll(&mut fds, Some(&Timespec::try_from(time)?)) {
        Ok(0) => Ok(()),
        Ok(_) | Err(Errno::INTR) => bail!("interrupted"),
        Err(e) => Err(e.into()),
    }
}

/// Ends a child of ours, with all that runs in its process group.
pub fn end(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// The command as messages show it: without directories.
fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    format!("`{}`", std::iter::once(program).chain(words).collect::<Vec<_>>().join(" "))
}

fn text(file: &mut File) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
