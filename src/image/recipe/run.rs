//! Runs a recipe's script: its lines become events, its end is waited for, and
//! nothing of it outlives this program's interest.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::super::error::ImageError;
use super::super::prepare::Job;
use super::RecipeError;
use crate::host::{self, Ending};

/// Runs the script `$@` beside a watcher that reads a pipe from this program:
/// it ends with this program, however that ends, and the watcher then ends the
/// script's whole process group, first so that it can clean up.
const WATCHED: &str = "\
    exec 3<&0 </dev/null\n\
    { trap '' TERM; cat <&3; kill -TERM 0; sleep 5; kill -KILL 0; } >/dev/null 2>&1 &\n\
    exec 3<&-\n\
    exec sh \"$@\"";

/// How soon Ctrl-C and the script's end are noticed.
const TICK: Duration = Duration::from_millis(100);
/// A slow mirror may take that long for one package list.
const SILENCE_MAX: Duration = Duration::from_secs(20 * 60);
/// For the script's clean-up after it was asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// For a reader that a busy machine has kept from its turn.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Lines shown when a build fails.
const TAIL: usize = 10;
/// Lines with it are for people; the others only explain a failure.
const STEP: &str = "build: ";

pub struct Script<'a> {
    pub path: PathBuf,
    pub image: &'a str,
    pub job: Job<'a>,
}

/// How a script ended and what it said last.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub tail: Vec<String>,
}

impl Ended {
    pub fn success(self) -> Result<(), RecipeError> {
        if self.status.success() {
            return Ok(());
        }
        Err(RecipeError::Failed { status: self.status.to_string(), tail: self.tail })
    }
}

impl Script<'_> {
    /// Runs it to its end. The outer error is the user's interruption.
    pub fn run<'s>(
        &self,
        arguments: impl IntoIterator<Item = &'s OsStr>,
    ) -> Result<Result<Ended, RecipeError>, ImageError> {
        let mut command = Command::new("sh");
        command.args(["-c", WATCHED, "sh"]).arg(&self.path).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        host::own_group(&mut command);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => return Ok(Err(e.into())),
        };
        let lines = lines_of(&mut child);
        let mut tail = VecDeque::new();
        let outcome = self.follow(&mut child, &lines, &mut tail);
        end(&mut child);
        Ok(outcome?.map(|status| Ended { status, tail: tail.into() }))
    }

    fn follow(
        &self,
        child: &mut Child,
        lines: &Receiver<String>,
        tail: &mut VecDeque<String>,
    ) -> Result<Result<ExitStatus, RecipeError>, ImageError> {
        let mut heard = Instant::now();
        loop {
            self.job.go_on()?;
            match lines.recv_timeout(TICK) {
                Ok(line) => {
                    heard = Instant::now();
                    self.hear(line, tail);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                // All is said; only the end is missing.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK / 10),
            }
            match child.try_wait() {
                Ok(Some(status)) => {
                    self.hear_rest(lines, tail);
                    return Ok(Ok(status));
                }
                Ok(None) if heard.elapsed() > SILENCE_MAX => {
                    let minutes = SILENCE_MAX.as_secs() / 60;
                    let tail = tail.iter().cloned().collect();
                    return Ok(Err(RecipeError::Silent { minutes, tail }));
                }
                Ok(None) => {}
                Err(e) => return Ok(Err(e.into())),
            }
        }
    }

    /// What the script said before it ended and the reader had not read yet.
    /// What the script left behind may keep its stderr open, silent.
    fn hear_rest(&self, lines: &Receiver<String>, tail: &mut VecDeque<String>) {
        while let Ok(line) = lines.recv_timeout(LAST_WORDS) {
            self.hear(line, tail);
        }
    }

    fn hear(&self, line: String, tail: &mut VecDeque<String>) {
        if let Some(step) = line.strip_prefix(STEP) {
            self.job.progress.step(format!("Building {}: {step}", self.image));
        }
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

/// The lines of the script's stderr, read by a thread that ends with them.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

/// Ends the script, if it has not ended, and all it left, which is at least
/// its watcher: first so that it can clean up.
fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        host::end_group(child, Ending::Polite);
    }
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        std::thread::sleep(TICK);
    }
    host::end_group(child, Ending::Forced);
    let _ = child.wait();
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::image::testing::with_job;
    use crate::machine::event::Event;

    type Outcome = Result<Result<Ended, RecipeError>, ImageError>;

    fn run(dir: &Path, text: &str, cancel: &AtomicBool) -> (Outcome, Vec<Event>) {
        let path = dir.join("build.sh");
        fs::write(&path, text).unwrap();
        with_job(cancel, |job| Script { path, image: "test", job }.run([dir.as_os_str()]))
    }

    #[test]
    fn steps_become_events_and_other_lines_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let text = "echo result; echo build: one >&2; echo noise >&2; echo build: two >&2";
        let (outcome, events) = run(dir.path(), text, &AtomicBool::new(false));
        outcome.unwrap().unwrap().success().unwrap();
        let step = |text: &str| Event::Step { text: format!("Building test: {text}") };
        assert_eq!(events, [step("one"), step("two")]);
    }

    #[test]
    fn a_failure_holds_the_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let text = "for i in $(seq 30); do echo line $i >&2; done; exit 3";
        let (outcome, _) = run(dir.path(), text, &AtomicBool::new(false));
        let error = outcome.unwrap().unwrap().success().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.ends_with("line 30"), "{text}");
        assert_eq!(text.lines().count(), 1 + TAIL, "{text}");
    }

    #[test]
    fn giving_up_ends_all_that_was_started_after_its_clean_up() {
        let dir = tempfile::tempdir().unwrap();
        // The lock is held as long as any process of the script lives.
        let text = "exec 9>\"$1/alive\"; trap 'echo > \"$1/cleaned\"; exit 1' TERM
            (trap '' TERM; echo > \"$1/ready\"; sleep 60) & wait";
        let cancel = AtomicBool::new(false);
        let (outcome, _) = std::thread::scope(|scope| {
            scope.spawn(|| {
                wait_until(|| dir.path().join("ready").exists());
                cancel.store(true, Ordering::Relaxed);
            });
            run(dir.path(), text, &cancel)
        });
        assert!(matches!(outcome, Err(ImageError::Cancelled)));
        assert!(dir.path().join("cleaned").exists());
        // The kernel takes a moment to be rid of those that were killed.
        wait_until(|| holders(&dir.path().join("alive")) == 0);
    }

    #[test]
    fn the_script_does_not_outlive_this_program() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("build.sh"), "exec 9>\"$1/alive\"; sleep 60").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", WATCHED, "sh"]).arg(dir.path().join("build.sh")).arg(dir.path());
        host::own_group(&mut command);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let alive = dir.path().join("alive");
        wait_until(|| holders(&alive) > 0);
        // What the kernel does for a program that was killed.
        drop(child.stdin.take());
        wait_until(|| holders(&alive) == 0);
        child.wait().unwrap();
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain");
            std::thread::sleep(TICK);
        }
    }

    /// Processes of this host that have the file open.
    fn holders(file: &Path) -> usize {
        let links = |dir: std::io::Result<fs::ReadDir>| dir.into_iter().flatten().flatten();
        let fds = links(fs::read_dir("/proc")).map(|process| process.path().join("fd"));
        let open = fds.flat_map(|fds| links(fs::read_dir(fds)));
        open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|link| link == file)).count()
    }
}
