//! A VM's memory and devices as one stream: QEMU's migration, to a file and
//! from one. The bytes pass through here by a socket, so that every host and
//! QEMU does it the same way, no program is started for it (which QEMU's
//! sandbox forbids), and a damaged file is known before its guest runs.
//!
//! ```text
//! save: QEMU (stopped) --migrate--> socket --> zstd --> file
//! load: file --> zstd --> socket --> QEMU (-incoming defer -S)
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};
use zstd::{Decoder, Encoder};

use super::qmp::{Qmp, QmpError};
use crate::machine::suspended::Memory;

/// QEMU answers its monitor while it migrates, but for the end of it.
const QMP_PATIENCE: Duration = Duration::from_secs(10);

/// QEMU connects to a socket that is listened on, within milliseconds.
const CONNECTING: Duration = Duration::from_secs(5);

/// A side that moves no byte for this long has failed.
const STALLED: Duration = Duration::from_secs(60);

/// Between two looks at something that tells nobody of its changes.
const POLL: Duration = Duration::from_millis(2);

/// Moved at once, in bytes.
const CHUNK: usize = 1 << 20;

/// Quarters a Linux guest's memory as fast as disks write, so that what is
/// saved must wait less for its disk.
const ZSTD_LEVEL: i32 = 1;

/// Bytes per second: more than any host has. QEMU's own limit is 128 MiB/s,
/// meant for networks.
const BANDWIDTH: u64 = 1 << 40;

/// Why a VM was not saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error("QEMU could not {doing} the guest's memory: {reason}")]
    Failed { doing: &'static str, reason: String },
    #[error("moving the guest's memory through \"{}\": {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("the file with the guest's memory: {0}")]
    File(io::Error),
    #[error("the file with the guest's memory is damaged: {0}")]
    Damaged(String),
    #[error("it took longer than {} s", .0.as_secs())]
    Timeout(Duration),
}

/// When to give up.
struct Deadline {
    end: Instant,
    patience: Duration,
}

impl Deadline {
    fn new(patience: Duration) -> Self {
        Self { end: Instant::now() + patience, patience }
    }

    fn check(&self) -> Result<(), MigrationError> {
        if Instant::now() < self.end { Ok(()) } else { Err(MigrationError::Timeout(self.patience)) }
    }
}

/// Has the VM be saved, or loaded, without the memory that is in a file of its own
/// (`memory-backend-file`, `share=on` when it is saved).
pub fn leave_memory_out(monitor: &Qmp) -> Result<(), MigrationError> {
    ignore_shared(monitor, true)
}

/// Has it be saved with all its memory again. A VM that was loaded without would
/// say in its state that it is to be loaded so, too.
pub fn take_memory_along(monitor: &Qmp) -> Result<(), MigrationError> {
    ignore_shared(monitor, false)
}

fn ignore_shared(monitor: &Qmp, state: bool) -> Result<(), MigrationError> {
    let capability = json!({ "capability": "x-ignore-shared", "state": state });
    let all = json!({ "capabilities": [capability] });
    monitor.execute("migrate-set-capabilities", all, QMP_PATIENCE)?;
    Ok(())
}

/// Writes the memory of a VM that was stopped to `file`. Its disks belong to
/// whoever loads it from then on; `cont` takes them back.
pub fn save(
    monitor: &Qmp,
    socket: &Path,
    file: &mut File,
    patience: Duration,
) -> Result<Memory, MigrationError> {
    let deadline = Deadline::new(patience);
    let trouble = |source| MigrationError::Socket { path: socket.to_owned(), source };
    let listener = listen(socket).map_err(trouble)?;
    let parameters = json!({ "max-bandwidth": BANDWIDTH });
    monitor.execute("migrate-set-parameters", parameters, QMP_PATIENCE)?;
    monitor.execute("migrate", address(socket), QMP_PATIENCE)?;
    // QEMU is not asked meanwhile. When it has little to write it writes all of it as
    // soon as it is connected, and answers nobody until somebody has read that.
    let connected = Deadline::new(CONNECTING);
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(trouble(e)),
            Err(_) if connected.check().is_err() => {
                progress(monitor, "write")?;
                return Err(MigrationError::Timeout(CONNECTING));
            }
            Err(_) => std::thread::sleep(POLL),
        }
    };
    stream.set_nonblocking(false).map_err(trouble)?;
    stream.set_read_timeout(Some(STALLED)).map_err(trouble)?;
    let mut packed = Encoder::new(&mut *file, ZSTD_LEVEL).map_err(MigrationError::File)?;
    packed.include_checksum(true).map_err(MigrationError::File)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = stream.read(&mut buffer).map_err(trouble)?;
        if count == 0 {
            break;
        }
        packed.write_all(&buffer[..count]).map_err(MigrationError::File)?;
        deadline.check()?;
    }
    packed.finish().map_err(MigrationError::File)?;
    // QEMU hangs up when it is done, and when it has failed.
    while !progress(monitor, "write")? {
        deadline.check()?;
        std::thread::sleep(POLL);
    }
    Ok(Memory { length: file.metadata().map_err(MigrationError::File)?.len() })
}

/// Loads a VM that was started to be loaded. It stands still afterwards: only
/// when this has succeeded may its guest be let run.
pub fn load(
    monitor: &Qmp,
    socket: &Path,
    file: &mut File,
    expected: Memory,
    patience: Duration,
) -> Result<(), MigrationError> {
    let deadline = Deadline::new(patience);
    let trouble = |source| MigrationError::Socket { path: socket.to_owned(), source };
    let length = file.metadata().map_err(MigrationError::File)?.len();
    if length != expected.length {
        let text = format!("it has {length} bytes instead of {}", expected.length);
        return Err(MigrationError::Damaged(text));
    }
    monitor.execute("migrate-incoming", address(socket), QMP_PATIENCE)?;
    let mut stream = loop {
        match open(socket) {
            Ok(stream) => break stream,
            Err(e) if deadline.check().is_err() => return Err(trouble(e)),
            Err(_) => std::thread::sleep(POLL),
        }
    };
    stream.set_write_timeout(Some(STALLED)).map_err(trouble)?;
    let damaged = |e: io::Error| MigrationError::Damaged(e.to_string());
    let mut unpacked = Decoder::new(&mut *file).map_err(damaged)?.single_frame();
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = unpacked.read(&mut buffer).map_err(damaged)?;
        if count == 0 {
            break;
        }
        if let Err(e) = stream.write_all(&buffer[..count]) {
            // It closes a stream that it cannot read, and says why elsewhere.
            progress(monitor, "read")?;
            return Err(trouble(e));
        }
        deadline.check()?;
    }
    drop(stream);
    while monitor.query_status(QMP_PATIENCE)? == "inmigrate" {
        progress(monitor, "read")?;
        deadline.check()?;
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Whether the migration has been completed; an error when it will not be.
fn progress(monitor: &Qmp, doing: &'static str) -> Result<bool, MigrationError> {
    let told = monitor.execute("query-migrate", Value::Null, QMP_PATIENCE)?;
    match told.get("status").and_then(Value::as_str) {
        Some("completed") => Ok(true),
        Some("failed" | "cancelled") => {
            let reason =
                told.get("error-desc").and_then(Value::as_str).unwrap_or("no reason given");
            Err(MigrationError::Failed { doing, reason: reason.to_owned() })
        }
        _ => Ok(false),
    }
}

/// QEMU takes what follows `unix:` as it is, colons included.
fn address(socket: &Path) -> Value {
    json!({ "uri": format!("unix:{}", socket.display()) })
}

fn open(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

fn listen(path: &Path) -> io::Result<Socket> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(1)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    /// More than a socket holds.
    const STATE: usize = 1 << 20;

    /// A monitor as QEMU's is while it writes all of a state in one go: deaf until
    /// that has been read.
    fn monitor(listener: &UnixListener, socket: &Path) -> io::Result<()> {
        let output = listener.accept()?.0;
        let say = |value: Value| writeln!(&output, "{value}");
        say(json!({ "QMP": {} }))?;
        for line in BufReader::new(&output).lines() {
            let request: Value = serde_json::from_str(&line?)?;
            let told = match request["execute"].as_str() {
                Some("query-migrate") => json!({ "status": "completed" }),
                _ => json!({}),
            };
            say(json!({ "return": told, "id": request["id"] }))?;
            if request["execute"] == "migrate" {
                // Who asks too early does so now.
                std::thread::sleep(10 * POLL);
                UnixStream::connect(socket)?.write_all(&vec![7; STATE])?;
            }
        }
        Ok(())
    }

    #[test]
    fn a_state_is_read_before_qemu_is_asked_about_it() {
        let dir = tempfile::tempdir().unwrap();
        let (place, socket) = (dir.path().join("qmp"), dir.path().join("memory"));
        let listener = UnixListener::bind(&place).unwrap();
        let to = socket.clone();
        let qemu = std::thread::spawn(move || monitor(&listener, &to));
        let (qmp, _events) = Qmp::connect(&place, CONNECTING, || true).unwrap();
        let path = dir.path().join("state");
        let mut file = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
        let memory = save(&qmp, &socket, &mut file, STALLED).unwrap();
        assert!(memory.length > 0);
        let written = zstd::decode_all(File::open(&path).unwrap()).unwrap();
        assert_eq!(written, vec![7; STATE]);
        drop(qmp);
        qemu.join().unwrap().unwrap();
    }
}
