//! The host's end of one command: this process's streams, signals and
//! terminal on one side, the agent's frames on the other.
//!
//! Blocking and with threads, because the command line needs no runtime: one
//! reads stdin, one forwards signals, the caller's writes the output. The
//! outcome ends it at once; a thread that still reads stdin ends with the
//! process.

pub mod resume;

use std::io::{self, Read, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, anyhow};

use super::signals;
use super::terminal::RawMode;
use crate::host;
use crate::namespace::named::Named;
use crate::protocol::frame::{Decoder, FrameError, MAX_DATA};
use crate::protocol::message::{FromAgent, FromHost, INITIAL_STDIN_CREDIT, Output};
use crate::protocol::outcome::{Failure, Info, Outcome, Plan};
use crate::protocol::request::{ExecRequest, Request};

/// A stream to the agent, as two ends that work at the same time. Closing
/// either before the outcome hangs up on the program: the end of stdin is a
/// frame of its own.
pub struct Connection {
    pub reader: Box<dyn Read + Send>,
    pub writer: Box<dyn Write + Send>,
    /// Set while the agent cannot be reached and is looked for.
    pub away: Arc<AtomicBool>,
}

impl Connection {
    /// One that is either there or lost.
    pub fn new(reader: impl Read + Send + 'static, writer: impl Write + Send + 'static) -> Self {
        Self { reader: Box::new(reader), writer: Box::new(writer), away: Arc::default() }
    }
}

/// Where the command's streams go on this side.
pub struct Stdio {
    pub stdin: Box<dyn Read + Send>,
    pub stdout: Box<dyn Write + Send>,
    pub stderr: Box<dyn Write + Send>,
}

impl Stdio {
    /// This process's own.
    pub fn of_process() -> Self {
        Self {
            stdin: Box::new(io::stdin()),
            stdout: host::screen(io::stdout()),
            stderr: host::screen(io::stderr()),
        }
    }

    /// The same, with the keys of a terminal that is raw.
    fn of_terminal(_: &RawMode) -> Self {
        Self { stdin: Box::new(host::keys()), ..Self::of_process() }
    }
}

/// Runs one command on this process's streams, signals and terminal, which is
/// raw meanwhile if the request asks for one.
pub fn run_here(connection: Connection, request: ExecRequest) -> anyhow::Result<Outcome> {
    let raw = match request.tty {
        None => None,
        Some(_) => Some(RawMode::enter().context("setting the terminal to raw mode")?),
    };
    let sender = Sender::new(connection.writer);
    signals::forward(&sender, connection.away, raw.as_ref()).context("watching for signals")?;
    let stdio = raw.as_ref().map_or_else(Stdio::of_process, Stdio::of_terminal);
    converse(connection.reader, &sender, exec(request), stdio)
}

/// Runs one command over `connection` and returns how it ended. An error
/// means that the connection broke before the end was known.
pub fn run(connection: Connection, request: ExecRequest, stdio: Stdio) -> anyhow::Result<Outcome> {
    relay(connection, exec(request), stdio)
}

/// The same of any request that a process answers.
pub fn relay(connection: Connection, request: Request, stdio: Stdio) -> anyhow::Result<Outcome> {
    converse(connection.reader, &Sender::new(connection.writer), request, stdio)
}

fn exec(request: ExecRequest) -> Request {
    Request::Exec(Box::new(request))
}

/// Asks the agent about its guest.
pub fn info(connection: Connection) -> anyhow::Result<Info> {
    match ask(connection, Request::Info)? {
        Answer::Info(info) => Ok(info),
        _ => Err(anyhow!("the machine answered with something else")),
    }
}

/// What answers a request that runs nothing.
pub enum Answer {
    Info(Info),
    Plan(Plan),
    Named(Vec<Named>),
    /// The request was refused.
    Refused(Failure),
    /// What was asked has this answer.
    Ended(Outcome),
}

/// Asks the agent for one answer.
pub fn ask(connection: Connection, request: Request) -> anyhow::Result<Answer> {
    let mut reader = connection.reader;
    Sender::new(connection.writer).send(&FromHost::Request(request))?;
    let mut decoder = Decoder::default();
    loop {
        if let Some(frame) = decoder.next()? {
            return match FromAgent::decode(frame)? {
                FromAgent::Info(info) => Ok(Answer::Info(info)),
                FromAgent::Plan(plan) => Ok(Answer::Plan(plan)),
                FromAgent::Named(all) => Ok(Answer::Named(all)),
                FromAgent::Outcome(Outcome::NotStarted(failure)) => Ok(Answer::Refused(failure)),
                FromAgent::Outcome(outcome) => Ok(Answer::Ended(outcome)),
                _ => Err(FrameError::OutOfPlace(frame.kind).into()),
            };
        }
        fill(&mut *reader, &mut decoder)?;
    }
}

/// Sends messages whole, from any thread.
#[derive(Clone)]
pub struct Sender {
    writer: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Sender {
    fn new(writer: Box<dyn Write + Send>) -> Self {
        Self { writer: Arc::new(Mutex::new(writer)) }
    }

    pub fn send(&self, message: &FromHost<'_>) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes)?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(&bytes)?;
        Ok(writer.flush()?)
    }
}

fn converse(
    mut reader: Box<dyn Read + Send>,
    sender: &Sender,
    request: Request,
    stdio: Stdio,
) -> anyhow::Result<Outcome> {
    sender.send(&FromHost::Request(request)).context("sending the request")?;
    let credit = Arc::new(Credit::new(INITIAL_STDIN_CREDIT));
    start_stdin(stdio.stdin, sender.clone(), Arc::clone(&credit))?;
    let mut outputs = Outputs {
        stdout: Some(stdio.stdout),
        stderr: Some(stdio.stderr),
        sender: sender.clone(),
        failed: None,
    };
    let mut decoder = Decoder::default();
    loop {
        while let Some(frame) = decoder.next()? {
            match FromAgent::decode(frame)? {
                FromAgent::Started { .. } => {}
                FromAgent::Stdout(bytes) => outputs.write(Output::Stdout, bytes),
                FromAgent::Stderr(bytes) => outputs.write(Output::Stderr, bytes),
                FromAgent::StdinCredit(more) => credit.grant(more as usize),
                FromAgent::Outcome(outcome) => return outputs.failed.map_or(Ok(outcome), Err),
                FromAgent::Info(_)
                | FromAgent::Plan(_)
                | FromAgent::Named(_)
                | FromAgent::Clock(_) => {
                    return Err(FrameError::OutOfPlace(frame.kind).into());
                }
            }
        }
        fill(&mut *reader, &mut decoder)?;
    }
}

fn fill(reader: &mut dyn Read, decoder: &mut Decoder) -> anyhow::Result<()> {
    match reader.read(decoder.space()) {
        Ok(0) => Err(anyhow!("the connection to the machine was lost before the command ended")),
        Ok(count) => {
            decoder.filled(count);
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
        Err(e) => Err(e).context("the connection to the machine was lost"),
    }
}

/// The two outputs. One whose reader has gone is closed in the guest too, so
/// that the program there learns it as it would here: by SIGPIPE.
struct Outputs {
    stdout: Option<Box<dyn Write + Send>>,
    stderr: Option<Box<dyn Write + Send>>,
    sender: Sender,
    failed: Option<anyhow::Error>,
}

impl Outputs {
    fn write(&mut self, which: Output, bytes: &[u8]) {
        let (slot, name) = match which {
            Output::Stdout => (&mut self.stdout, "standard output"),
            Output::Stderr => (&mut self.stderr, "standard error"),
        };
        let Some(output) = slot else { return };
        let Err(e) = output.write_all(bytes).and_then(|()| output.flush()) else { return };
        *slot = None;
        if e.kind() != io::ErrorKind::BrokenPipe {
            self.failed = Some(anyhow!(e).context(format!("writing to {name}")));
        }
        // Without a connection the next read says so.
        let _ = self.sender.send(&FromHost::CloseOutput(which));
    }
}

/// How many bytes of stdin the agent still takes.
struct Credit {
    bytes: Mutex<usize>,
    granted: Condvar,
}

impl Credit {
    const fn new(bytes: usize) -> Self {
        Self { bytes: Mutex::new(bytes), granted: Condvar::new() }
    }

    fn grant(&self, more: usize) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *bytes = bytes.saturating_add(more);
        self.granted.notify_one();
    }

    /// Waits until some is left, and tells how much.
    fn available(&self) -> usize {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let none = |bytes: &mut usize| *bytes == 0;
        *self.granted.wait_while(bytes, none).unwrap_or_else(PoisonError::into_inner)
    }

    fn spend(&self, count: usize) {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) -= count;
    }
}

/// Sends stdin as it comes, within the credit, from a thread of its own.
fn start_stdin(
    mut stdin: Box<dyn Read + Send>,
    sender: Sender,
    credit: Arc<Credit>,
) -> anyhow::Result<()> {
    let forward = move || {
        let mut buffer = vec![0; MAX_DATA];
        loop {
            let most = credit.available().min(buffer.len());
            let message = match stdin.read(&mut buffer[..most]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Ok(count) if count > 0 => {
                    credit.spend(count);
                    FromHost::Stdin(&buffer[..count])
                }
                Ok(_) | Err(_) => FromHost::StdinEof,
            };
            if sender.send(&message).is_err() || message == FromHost::StdinEof {
                return;
            }
        }
    };
    thread::Builder::new().name("stdin".to_owned()).spawn(forward).context("starting a thread")?;
    Ok(())
}

#[cfg(test)]
mod tests;
