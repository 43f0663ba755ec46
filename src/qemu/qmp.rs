//! QMP, QEMU's monitor: JSON lines over a socket (docs/interop/qmp-spec
//! in QEMU's tree). Commands carry an id and a deadline; events go to a channel
//! whose end is the end of the connection.
//!
//! ```text
//! execute --> writer            +--> the waiter with that id (late: dropped)
//!                   QEMU --> reader thread
//!                               +--> events
//! ```

mod message;

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::Socket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::endpoint;
use message::{GREETING_ID, Message, Reply};
pub use message::{QmpEvent, Refusal};

/// Longer than any answer; a peer that sends more is no QEMU.
const LINE_MAX: u64 = 16 << 20;

/// QEMU reads its monitor whenever its main loop turns.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a monitor did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    #[error("cannot connect to QEMU's monitor \"{}\": {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("QEMU ended before its monitor \"{}\" answered", .0.display())]
    Died(PathBuf),
    #[error("QEMU did not answer \"{command}\" within {:.1} s", after.as_secs_f64())]
    Timeout { command: String, after: Duration },
    #[error("QEMU closed its monitor before it answered \"{command}\"")]
    Closed { command: String },
    #[error("QEMU refused \"{command}\": {refusal}")]
    Refused { command: String, refusal: Refusal },
    #[error("QEMU's answer to \"{command}\" makes no sense: {answer}")]
    Answer { command: String, answer: String },
}

impl QmpError {
    pub fn hint(&self) -> Option<String> {
        None
    }
}

/// A connection to one QEMU's monitor. Calls may come from several threads.
#[derive(Debug)]
pub struct Qmp {
    socket: Arc<Socket>,
    /// Keeps commands whole.
    writing: Mutex<()>,
    waiting: Arc<Mutex<Waiting>>,
    next_id: AtomicU64,
}

/// Who waits for which id; `None` once the connection has ended.
type Waiting = Option<HashMap<u64, SyncSender<Reply>>>;

impl Qmp {
    /// Connects and negotiates, asking again until QEMU listens, `deadline`
    /// has passed or `alive` says that there is nothing to wait for.
    pub fn connect(
        path: &Path,
        deadline: Duration,
        mut alive: impl FnMut() -> bool,
    ) -> Result<(Self, UnboundedReceiver<QmpEvent>), QmpError> {
        let end = Instant::now() + deadline;
        let socket = loop {
            match endpoint::connect(path) {
                Ok(socket) => break socket,
                Err(_) if !alive() => return Err(QmpError::Died(path.to_owned())),
                Err(source) if Instant::now() >= end => {
                    return Err(QmpError::Connect { path: path.to_owned(), source });
                }
                // QEMU listens some 20 ms after it was started.
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let cannot = |source| QmpError::Connect { path: path.to_owned(), source };
        Self::negotiate(socket, end.saturating_duration_since(Instant::now())).map_err(cannot)?
    }

    fn negotiate(
        socket: Socket,
        deadline: Duration,
    ) -> io::Result<Result<(Self, UnboundedReceiver<QmpEvent>), QmpError>> {
        socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let (events, received) = unbounded_channel();
        let (greet, greeting) = sync_channel(1);
        let waiting = Arc::new(Mutex::new(Some(HashMap::from([(GREETING_ID, greet)]))));
        let reader = Reader { waiting: Arc::clone(&waiting), events };
        let socket = Arc::new(socket);
        let input = Arc::clone(&socket);
        std::thread::Builder::new().name("qmp".into()).spawn(move || reader.run(&input))?;
        let next_id = AtomicU64::new(GREETING_ID + 1);
        let qmp = Self { socket, writing: Mutex::new(()), waiting, next_id };
        let greeted = answer("(greeting)", deadline, greeting.recv_timeout(deadline));
        let ready = greeted.and_then(|_| qmp.execute("qmp_capabilities", Value::Null, deadline));
        Ok(ready.map(|_| (qmp, received)))
    }

    /// Runs a command with arguments (`Value::Null` for none) and returns what
    /// QEMU returned.
    pub fn execute(
        &self,
        command: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<Value, QmpError> {
        let closed = || QmpError::Closed { command: command.to_owned() };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = sync_channel(1);
        locked(&self.waiting).as_mut().ok_or_else(closed)?.insert(id, sender);
        let sent = self.send(&message::request(command, arguments, id));
        let received = reply.recv_timeout(if sent.is_ok() { deadline } else { Duration::ZERO });
        // Nobody waits any more: a late answer finds no one and is dropped.
        if let Some(waiting) = locked(&self.waiting).as_mut() {
            waiting.remove(&id);
        }
        sent.map_err(|_| closed())?;
        answer(command, deadline, received)
    }

    /// The UUID given by `-uuid`: proves whose VM this is.
    pub fn query_uuid(&self, deadline: Duration) -> Result<String, QmpError> {
        self.text("query-uuid", "UUID", deadline)
    }

    /// `running`, `paused`, `shutdown`, ... (QAPI type `RunState`).
    pub fn query_status(&self, deadline: Duration) -> Result<String, QmpError> {
        self.text("query-status", "status", deadline)
    }

    /// Presses the guest's power button. A guest without a driver for it (it
    /// is loaded late in a boot) ignores that, so press again until the event
    /// `SHUTDOWN` comes.
    pub fn system_powerdown(&self, deadline: Duration) -> Result<(), QmpError> {
        self.execute("system_powerdown", Value::Null, deadline).map(drop)
    }

    /// Ends QEMU at once. It may hang up before it answers.
    pub fn quit(&self, deadline: Duration) -> Result<(), QmpError> {
        match self.execute("quit", Value::Null, deadline) {
            Ok(_) | Err(QmpError::Closed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn text(&self, command: &str, key: &str, deadline: Duration) -> Result<String, QmpError> {
        let value = self.execute(command, Value::Null, deadline)?;
        let text = value.get(key).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| QmpError::Answer {
            command: command.to_owned(),
            answer: value.to_string(),
        })
    }

    fn send(&self, line: &str) -> io::Result<()> {
        let _whole = locked(&self.writing);
        (&*self.socket).write_all(line.as_bytes())
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        // Wakes the reader thread, which then ends. It fails only for a
        // connection that has already ended.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

fn answer(
    command: &str,
    after: Duration,
    received: Result<Reply, RecvTimeoutError>,
) -> Result<Value, QmpError> {
    let command = command.to_owned();
    match received {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(refusal)) => Err(QmpError::Refused { command, refusal }),
        Err(RecvTimeoutError::Timeout) => Err(QmpError::Timeout { command, after }),
        Err(RecvTimeoutError::Disconnected) => Err(QmpError::Closed { command }),
    }
}

/// What these locks guard is whole after every statement, so that a panic
/// elsewhere spoils nothing.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reading half, on a thread of its own.
struct Reader {
    waiting: Arc<Mutex<Waiting>>,
    events: UnboundedSender<QmpEvent>,
}

impl Reader {
    fn run(self, socket: &Socket) {
        let mut input = BufReader::new(socket);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut input).take(LINE_MAX).read_until(b'\n', &mut line) {
                Ok(_) if line.ends_with(b"\n") => self.dispatch(&line),
                // The end, an error, or a line without end.
                _ => break,
            }
        }
        locked(&self.waiting).take();
    }

    fn dispatch(&self, line: &[u8]) {
        match message::parse(line) {
            Some(Message::Reply(id, reply)) => {
                let waiter = locked(&self.waiting).as_mut().and_then(|all| all.remove(&id));
                if let Some(waiter) = waiter {
                    // The waiter may have just given up.
                    let _ = waiter.send(reply);
                }
            }
            Some(Message::Event(event)) => {
                // A receiver that was dropped does not care for events.
                let _ = self.events.send(event);
            }
            None => tracing::debug!(line = %String::from_utf8_lossy(line), "not a QMP message"),
        }
    }
}

#[cfg(all(test, unix))]
mod tests;
