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

/// How soon Ctrl-C and the script's end are noticed.
const TICK: Duration = Duration::from_millis(100);
/// A slow mirror may take that long for one package list.
const SILENCE_MAX: Duration = Duration::from_secs(20 * 60);
/// For the script's clean-up after it was asked to end.
const GRACE: Duration = Duration::from_secs(5);
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
        command.arg(&self.path).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        host::own_group(&mut command);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => return Ok(Err(e.into())),
        };
        let lines = lines_of(&mut child);
        let mut tail = VecDeque::new();
        let outcome = self.follow(&mut child, &lines, &mut tail);
        if !matches!(outcome, Ok(Ok(_))) {
            end(&mut child);
        }
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
                Ok(Some(status)) => return Ok(Ok(status)),
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

/// Ends the script and all it started: first so that it can clean up.
fn end(child: &mut Child) {
    host::end_group(child, Ending::Polite);
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
