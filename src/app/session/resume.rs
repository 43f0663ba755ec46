//! The client's end of a stream that outlives the supervisor and the link: a
//! thread reads the present way, and finds another when that is lost.
//!
//! It is a thread of its own because the one that writes the output may wait
//! for long, for a pager say, and the agent keeps a command that has no way
//! only for so long.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use uuid::Uuid;

use super::Connection;
use crate::protocol::resume::{self, Answer, Opening, PATIENCE, Token};

/// Between two attempts to find another way.
const PAUSE: Duration = Duration::from_millis(200);

/// How long what may take.
#[derive(Clone, Copy)]
struct Times {
    /// Until the agent says whether it knows a stream.
    answer: Duration,
    /// Until the user is told.
    quiet: Duration,
}

/// A guest that is there answers at once; one that does not has lost its link
/// (`supervisor::clock`), which is dialled again. A supervisor is found again
/// within half a second: nobody needs to know.
const TIMES: Times = Times { answer: Duration::from_secs(30), quiet: Duration::from_secs(1) };

/// Read at once from a way.
const BUFFER: usize = 64 * 1024;

/// What the user of a command may want to know about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It cannot be reached, and is looked for.
    Away,
    /// It was found, after all.
    Back,
}

/// Why there is no way.
pub enum Unreachable {
    /// Another attempt may find one.
    Yet(anyhow::Error),
    /// The guest stands still and waits: so does whoever wants it.
    Asleep(anyhow::Error),
    /// There will be none.
    Ever(anyhow::Error),
}

/// Who knows the ways to the agent.
pub trait Guide: Send {
    /// Finds one: a single attempt, which ends by itself.
    fn find(&mut self) -> Result<Connection, Unreachable>;

    /// Why an agent may not know a stream any more.
    fn forgotten(&self) -> anyhow::Error;
}

/// Opens a new stream by `first`; the connection that comes of it goes on by
/// others that the guide finds, and `tell` hears of it if that takes long.
pub fn open(
    first: Connection,
    guide: impl Guide + 'static,
    tell: impl Fn(Notice) + Send + Sync + 'static,
) -> anyhow::Result<Connection> {
    open_within(TIMES, first, guide, tell)
}

fn open_within(
    times: Times,
    first: Connection,
    guide: impl Guide + 'static,
    tell: impl Fn(Notice) + Send + Sync + 'static,
) -> anyhow::Result<Connection> {
    let Connection { reader, mut writer, away } = first;
    let token = Token { id: Uuid::new_v4().into_bytes(), secret: Uuid::new_v4().into_bytes() };
    // Goes out with the first record, in one packet.
    let out = Opening { token, resume: None }.encode().to_vec();
    writer.flush().context("opening a stream")?;
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        changed: Condvar::new(),
        wire: Mutex::new(Wire { writer: Some(writer), out }),
        away: Arc::clone(&away),
    });
    let (tell, late) = (Arc::new(tell), Vec::new());
    let keeper = Keeper { shared: Arc::clone(&shared), token, times, guide, tell, late };
    thread::Builder::new().name("way".to_owned()).spawn(move || keeper.keep(reader))?;
    let ends = [shared.clone(), shared];
    let [reader, writer] = ends.map(End);
    Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), away })
}

struct Shared {
    state: Mutex<State>,
    /// Something arrived, was confirmed, or has ended.
    changed: Condvar,
    wire: Mutex<Wire>,
    /// There is no way at present.
    away: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    stream: resume::Resumable,
    /// Why there is no more, in words.
    ended: Option<String>,
}

/// The writing side of the way. Locked before the state, never after it.
struct Wire {
    writer: Option<Box<dyn Write + Send>>,
    out: Vec<u8>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the way what it shall have. Without one it stays here, and one
    /// that is broken is noticed by who reads it.
    fn send(&self) {
        let wire = &mut *self.wire();
        let Some(writer) = &mut wire.writer else { return };
        while self.state().stream.output(&mut wire.out) {
            if writer.write_all(&wire.out).and_then(|()| writer.flush()).is_err() {
                wire.writer = None;
                return;
            }
            wire.out.clear();
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, why: String) {
        self.state().ended = Some(why);
        self.changed.notify_all();
    }
}

/// Reader or writer of the stream.
struct End(Arc<Shared>);

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.state();
        loop {
            let count = state.stream.read(buffer);
            if count > 0 {
                let confirms = state.stream.has_output();
                drop(state);
                if confirms {
                    self.0.send();
                }
                return Ok(count);
            }
            if let Some(why) = &state.ended {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, why.clone()));
            }
            state = self.0.wait(state);
        }
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state();
        let count = loop {
            if state.ended.is_some() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            match state.stream.write(bytes) {
                0 if !bytes.is_empty() => state = self.0.wait(state),
                count => break count,
            }
        };
        drop(state);
        self.0.send();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the ways.
struct Keeper<G, T> {
    shared: Arc<Shared>,
    token: Token,
    times: Times,
    guide: G,
    tell: Arc<T>,
    /// Ways that were given up because no answer came. To close one would say
    /// that this client is gone, should the agent still take it; so they stay
    /// until a later one is taken.
    late: Vec<(Box<dyn Write + Send>, Listening)>,
}

/// Hears the agent's word, and has the way behind it.
type Listening = mpsc::Receiver<io::Result<([u8; Answer::LENGTH], Box<dyn Read + Send>)>>;

impl<G: Guide, T: Fn(Notice) + Send + Sync + 'static> Keeper<G, T> {
    fn keep(mut self, mut reader: Box<dyn Read + Send>) {
        loop {
            if let Err(why) = self.read(&mut *reader) {
                return self.shared.end(why);
            }
            self.shared.away.store(true, Ordering::Relaxed);
            // Whoever is writing to it fails, because its other end is closed.
            self.shared.wire().writer = None;
            match self.resume_aloud() {
                Ok(new) => reader = new,
                Err(why) => return self.shared.end(format!("{why:#}")),
            }
            self.shared.away.store(false, Ordering::Relaxed);
            self.shared.send();
        }
    }

    /// Until the way ends; an error: the agent breaks the rules.
    fn read(&self, reader: &mut dyn Read) -> Result<(), String> {
        let mut buffer = vec![0; BUFFER];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    let input = self.shared.state().stream.input(&buffer[..count]);
                    input.map_err(|e| e.to_string())?;
                    self.shared.changed.notify_all();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(()),
            }
        }
    }

    /// Resumes, and says so if it does not go without saying.
    fn resume_aloud(&mut self) -> anyhow::Result<Box<dyn Read + Send>> {
        let (done, waits) = mpsc::channel::<()>();
        let quiet = self.times.quiet;
        let tell = Arc::clone(&self.tell);
        let telling = thread::Builder::new().name("away".to_owned()).spawn(move || {
            let late = waits.recv_timeout(quiet) == Err(RecvTimeoutError::Timeout);
            if late {
                tell(Notice::Away);
            }
            late
        })?;
        let found = self.resume();
        drop(done);
        if telling.join().unwrap_or(false) && found.is_ok() {
            (self.tell)(Notice::Back);
        }
        found
    }

    fn resume(&mut self) -> anyhow::Result<Box<dyn Read + Send>> {
        let mut end = Instant::now() + PATIENCE;
        loop {
            let why = match self.guide.find() {
                Ok(way) => match self.attach(way) {
                    Err(Unreachable::Yet(why) | Unreachable::Asleep(why)) => why,
                    Err(Unreachable::Ever(why)) => return Err(why),
                    Ok(reader) => return Ok(reader),
                },
                Err(Unreachable::Ever(why)) => return Err(why),
                Err(Unreachable::Yet(why)) => why,
                Err(Unreachable::Asleep(why)) => {
                    end = Instant::now() + PATIENCE;
                    why
                }
            };
            if Instant::now() >= end {
                let seconds = PATIENCE.as_secs();
                return Err(why.context(format!("it did not come back within {seconds} s")));
            }
            thread::sleep(PAUSE);
        }
    }

    fn attach(&mut self, way: Connection) -> Result<Box<dyn Read + Send>, Unreachable> {
        let yet = |e: io::Error| Unreachable::Yet(e.into());
        let Connection { reader, mut writer, .. } = way;
        let received = self.shared.state().stream.received();
        let opening = Opening { token: self.token, resume: Some(received) };
        writer.write_all(&opening.encode()).and_then(|()| writer.flush()).map_err(yet)?;
        let answer = listen(reader).map_err(yet)?;
        let heard = match answer.recv_timeout(self.times.answer) {
            Err(RecvTimeoutError::Timeout) => {
                self.late.push((writer, answer));
                let seconds = self.times.answer.as_secs();
                return Err(Unreachable::Yet(anyhow!(
                    "the guest's agent has not answered for {seconds} s"
                )));
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(heard) => heard,
        };
        let (answer, reader) = heard.map_err(yet)?;
        let Some(Answer::Attached(received)) = Answer::decode(&answer) else {
            return Err(Unreachable::Ever(self.guide.forgotten()));
        };
        self.late.clear();
        let mut wire = self.shared.wire();
        let resumed = self.shared.state().stream.resumed(received);
        resumed.map_err(|e| Unreachable::Ever(e.into()))?;
        wire.writer = Some(writer);
        wire.out.clear();
        Ok(reader)
    }
}

/// Reads the answer aside, because not every system's connections can be read
/// with a deadline. The thread ends with the answer or the connection.
fn listen(mut reader: Box<dyn Read + Send>) -> io::Result<Listening> {
    let (told, heard) = mpsc::channel();
    thread::Builder::new().name("answer".to_owned()).spawn(move || {
        let mut answer = [0; Answer::LENGTH];
        let read = reader.read_exact(&mut answer);
        let _ = told.send(read.map(|()| (answer, reader)));
    })?;
    Ok(heard)
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;
