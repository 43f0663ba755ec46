//! A small host: starts an agent, attaches to it, opens streams.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio as Process};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nsvm::app::session::{self, Answer, Connection, Stdio};
use nsvm::namespace::named::Named;
use nsvm::protocol::frame::Decoder;
use nsvm::protocol::hello::{Hello, Scan};
use nsvm::protocol::message::{FromAgent, FromHost};
use nsvm::protocol::outcome::{Failure, Outcome};
use nsvm::protocol::request::{ExecRequest, NamedRequest, NamedVerb, Request};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tokio_util::compat::TokioAsyncReadCompatExt;

/// Nothing here takes longer, not even on a slow and busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test; `NSVM_TEST_AGENT` names another build of it.
pub fn program() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_nsvm-agent");
    std::env::var_os("NSVM_TEST_AGENT").map_or_else(|| built.into(), PathBuf::from)
}

/// Copies a program that will be run at once. By a process of its own: one that
/// another test forks meanwhile would hold our copy open for writing, and such
/// a file cannot be executed.
pub fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").args([from, to]).status().unwrap().success());
}

/// `nsvm-agent serve`, ended with its user.
pub struct Agent {
    process: Child,
    dir: tempfile::TempDir,
}

impl Agent {
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    pub fn start_in(dir: tempfile::TempDir) -> Self {
        Self::spawn(Command::new(program()), dir)
    }

    /// Starts an agent whose users have these subordinate ids: in a mount
    /// namespace of its own, where the files are other ones.
    pub fn start_with_subids(line: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("subids"), line).unwrap();
        let script =
            "mount --bind \"$0\" /etc/subuid && mount --bind \"$0\" /etc/subgid && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(dir.path().join("subids"));
        command.arg(program());
        Self::spawn(command, dir)
    }

    /// Starts an agent in a network namespace of its own, which `script` sets
    /// up before: a machine of which nothing reaches this host's network.
    pub fn start_alone(script: &str) -> Self {
        let mut command = Command::new("unshare");
        let script = format!("{script}\nexec \"$0\" \"$@\"");
        command.args(["--net", "sh", "-ec", &script]).arg(program());
        Self::spawn(command, tempfile::tempdir().unwrap())
    }

    fn spawn(command: Command, dir: tempfile::TempDir) -> Self {
        Self { process: serve(command, dir.path()), dir }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("run/agent.sock")
    }

    /// Where it keeps what outlives it.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Kills it and starts another in its place.
    pub fn kill_and_start_again(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = serve(Command::new(program()), self.dir.path());
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its children that work, and those that nobody has reaped.
    pub fn children(&self) -> Vec<u32> {
        self.all_children()
            .into_iter()
            .filter(|(_, name)| !waits(name))
            .map(|(pid, _)| pid)
            .collect()
    }

    /// The launcher, and its copy that waits for work.
    pub fn launchers(&self) -> Vec<u32> {
        self.all_children()
            .into_iter()
            .filter(|(_, name)| waits(name))
            .map(|(pid, _)| pid)
            .collect()
    }

    fn all_children(&self) -> Vec<(u32, String)> {
        let list = format!("/proc/{0}/task/{0}/children", self.pid());
        let named = |word: &str| {
            let name = std::fs::read_to_string(format!("/proc/{word}/comm")).ok()?;
            Some((word.parse().unwrap(), name.trim().to_owned()))
        };
        std::fs::read_to_string(list).unwrap().split_whitespace().filter_map(named).collect()
    }

    /// A link through a new `nsvm-agent attach`.
    pub fn attach(&self) -> Link {
        Link::new(attach_command(&self.socket()))
    }
}

fn waits(name: &str) -> bool {
    matches!(name, "launcher" | "spare")
}

fn serve(mut command: Command, dir: &Path) -> Child {
    command.args(["serve", "--socket"]).arg(dir.join("run/agent.sock"));
    command.arg("--state").arg(dir.join("state")).stdin(Process::null());
    command.spawn().unwrap()
}

/// What the named namespaces of an agent that is gone would leave behind.
fn end_holders(state: &Path) {
    let records = std::fs::read_dir(state.join("ns")).into_iter().flatten().flatten();
    for record in records {
        let text = std::fs::read_to_string(record.path()).unwrap_or_default();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let holder = record["holder"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = holder.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        end_holders(&self.state());
    }
}

pub fn attach_command(socket: &Path) -> Command {
    let mut command = Command::new(program());
    command.args(["attach", "--socket"]).arg(socket);
    command
}

/// One link: yamux over the standard streams of an `attach`. Dropping it is a
/// lost connection.
pub struct Link {
    pub hello: Hello,
    attach: Child,
    streams: tokio::sync::mpsc::UnboundedSender<UnixStream>,
}

impl Link {
    pub fn new(mut command: Command) -> Self {
        let mut attach = command.stdin(Process::piped()).stdout(Process::piped()).spawn().unwrap();
        let input = File::from(std::os::fd::OwnedFd::from(attach.stdin.take().unwrap()));
        let mut output = File::from(std::os::fd::OwnedFd::from(attach.stdout.take().unwrap()));
        let hello = read_hello(&mut output);
        let (streams, requests) = tokio::sync::mpsc::unbounded_channel();
        thread::spawn(move || multiplex(input, output, requests));
        Self { hello, attach, streams }
    }

    /// As if sshd had been killed.
    pub fn kill(&mut self) {
        let _ = self.attach.kill();
        let _ = self.attach.wait();
    }

    /// A new stream.
    pub fn open(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(DEADLINE)).unwrap();
        self.streams.send(theirs).unwrap();
        ours
    }

    /// A new stream, as the host's session takes it.
    pub fn connection(&self) -> Connection {
        let stream = self.open();
        Connection::new(stream.try_clone().unwrap(), stream)
    }

    /// Runs a command through the real host session.
    pub fn run(&self, request: ExecRequest, stdio: Stdio) -> anyhow::Result<Outcome> {
        let connection = self.connection();
        within_deadline(move || session::run(connection, request, stdio))
    }

    /// Asks about named namespaces as root.
    pub fn named(&self, verb: NamedVerb) -> Result<Vec<Named>, Failure> {
        self.named_as("root", verb)
    }

    pub fn named_as(&self, user: &str, verb: NamedVerb) -> Result<Vec<Named>, Failure> {
        let request = NamedRequest { user: Some(user.parse().unwrap()), verb };
        let connection = self.connection();
        let answer = within_deadline(move || session::ask(connection, Request::Named(request)));
        match answer.unwrap() {
            Answer::Named(all) => Ok(all),
            Answer::Refused(failure) => Err(failure),
            _ => panic!("another answer"),
        }
    }

    /// Runs a command with `stdin`; its outcome, stdout and stderr.
    pub fn output(&self, request: ExecRequest, stdin: &'static [u8]) -> Finished {
        let (out, err) = (Captured::new(), Captured::new());
        let streams = Stdio { stdin: Box::new(stdin), stdout: out.writer(), stderr: err.writer() };
        let outcome = self.run(request, streams).unwrap();
        Finished { outcome, stdout: out.text(), stderr: err.text() }
    }

    /// A program without input.
    pub fn exec(&self, argv: &[&str]) -> Finished {
        self.output(ExecRequest::new(argv.iter().copied()), b"")
    }

    /// A stream spoken to frame by frame.
    pub fn talk(&self, request: ExecRequest) -> Talk {
        let mut talk = Talk { stream: self.open(), decoder: Decoder::default() };
        talk.send(&FromHost::Request(Request::Exec(Box::new(request))));
        talk
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a command ended and what it wrote.
#[derive(Debug)]
pub struct Finished {
    pub outcome: Outcome,
    pub stdout: String,
    pub stderr: String,
}

/// A stream spoken to by hand.
pub struct Talk {
    pub stream: UnixStream,
    decoder: Decoder,
}

impl Talk {
    pub fn send(&mut self, message: &FromHost<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next message; `None` at the end of the stream.
    pub fn next<T>(&mut self, take: impl Fn(FromAgent<'_>) -> T) -> Option<T> {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return Some(take(FromAgent::decode(frame).unwrap()));
            }
            match self.stream.read(self.decoder.space()).unwrap() {
                0 => return None,
                count => self.decoder.filled(count),
            }
        }
    }

    /// Reads stdout until it holds `wanted`; everything read.
    pub fn stdout_until(&mut self, wanted: &str) -> String {
        let mut text = String::new();
        while !text.contains(wanted) {
            let more = self.next(|message| match message {
                FromAgent::Stdout(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                FromAgent::Started { .. } | FromAgent::StdinCredit(_) => String::new(),
                other => panic!("{other:?} after {text:?}"),
            });
            text += &more.unwrap_or_else(|| panic!("the stream ended after {text:?}"));
        }
        text
    }

    pub fn outcome(&mut self) -> Outcome {
        loop {
            let found = self.next(|message| match message {
                FromAgent::Outcome(outcome) => Some(outcome),
                _ => None,
            });
            if let Some(outcome) = found.expect("the stream ended without an outcome") {
                return outcome;
            }
        }
    }
}

/// A writer whose bytes can be read afterwards.
pub struct Captured {
    bytes: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Captured {
    pub fn new() -> Self {
        Self { bytes: std::sync::Arc::default() }
    }

    pub fn writer(&self) -> Box<dyn Write + Send> {
        Box::new(Self { bytes: self.bytes.clone() })
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `work` aside and fails the test when it does not end in time.
pub fn within_deadline<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    result.recv_timeout(DEADLINE).expect("not done in time")
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not in time");
        thread::sleep(Duration::from_millis(10));
    }
}

fn read_hello(output: &mut File) -> Hello {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    loop {
        assert_eq!(output.read(&mut byte).unwrap(), 1, "attach ended: {bytes:?}");
        bytes.push(byte[0]);
        match Hello::scan(&bytes) {
            Scan::Incomplete => {}
            Scan::Found(hello, _) => return *hello,
            Scan::NotAnAgent(reason) => panic!("{reason}"),
        }
    }
}

/// The supervisor's part: relays sockets as yamux streams.
fn multiplex(
    input: File,
    output: File,
    mut requests: tokio::sync::mpsc::UnboundedReceiver<UnixStream>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let receiver = tokio::net::unix::pipe::Receiver::from_file(output).unwrap();
        let sender = tokio::net::unix::pipe::Sender::from_file(input).unwrap();
        let socket = tokio::io::join(receiver, sender).compat();
        let config = yamux::Config::default();
        let mut connection = yamux::Connection::new(socket, config, yamux::Mode::Client);
        loop {
            tokio::select! {
                ended = std::future::poll_fn(|cx| connection.poll_next_inbound(cx)) => {
                    assert!(!matches!(ended, Some(Ok(_))), "the agent opened a stream");
                    return;
                }
                request = requests.recv() => {
                    let Some(socket) = request else { return };
                    let stream = std::future::poll_fn(|cx| connection.poll_new_outbound(cx));
                    tokio::spawn(relay(socket, stream.await.unwrap()));
                }
            }
        }
    });
}

async fn relay(socket: UnixStream, stream: yamux::Stream) {
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UnixStream::from_std(socket).unwrap();
    let (mut socket_read, mut socket_write) = socket.into_split();
    let (mut stream_read, mut stream_write) = tokio::io::split(stream.compat());
    let to_agent = async {
        let _ = tokio::io::copy(&mut socket_read, &mut stream_write).await;
        let _ = stream_write.shutdown().await;
    };
    let to_host = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = stream_read.read(&mut buffer).await {
            if socket_write.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
        let _ = socket_write.shutdown().await;
    };
    tokio::join!(to_agent, to_host);
}
