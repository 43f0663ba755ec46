//! Commands whose link dies under them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nsvm::app::session::resume::{self, Guide, Unreachable};
use nsvm::app::session::{self, Connection, Stdio};
use nsvm::protocol::message::FromHost;
use nsvm::protocol::outcome::Outcome;
use nsvm::protocol::request::{ExecRequest, Request};
use nsvm::protocol::resume::{Answer, Opening, Resumable, Token};

use crate::client::{Agent, Captured, Link, attach_command, eventually, within_deadline};
use crate::namespaces::{nap, sleeping};
use crate::needs_root;

/// A client's way to the agent: dialled again whenever it is cut.
#[derive(Clone)]
struct Host {
    socket: PathBuf,
    link: Arc<Mutex<Link>>,
}

impl Host {
    fn new(agent: &Agent) -> Self {
        let socket = agent.socket();
        let link = Arc::new(Mutex::new(agent.attach()));
        Self { socket, link }
    }

    fn connection(&self) -> Connection {
        let first = self.link.lock().unwrap().connection();
        let again = self.clone();
        resume::open(first, again, |_| {}).unwrap()
    }

    /// As if sshd had been killed.
    fn cut(&self) {
        self.link.lock().unwrap().kill();
    }

    /// Runs it aside; what it wrote and how it ended.
    fn start(
        &self,
        argv: &[&str],
        stdin: impl Read + Send + 'static,
    ) -> (Captured, std::thread::JoinHandle<Outcome>) {
        let out = Captured::new();
        let stdio = Stdio {
            stdin: Box::new(stdin),
            stdout: out.writer(),
            stderr: Box::new(std::io::stderr()),
        };
        let (connection, request) = (self.connection(), ExecRequest::new(argv.iter().copied()));
        let run = move || session::run(connection, request, stdio).unwrap();
        (out, std::thread::spawn(run))
    }
}

impl Guide for Host {
    fn find(&mut self) -> Result<Connection, Unreachable> {
        let mut link = self.link.lock().unwrap();
        *link = Link::new(attach_command(&self.socket));
        Ok(link.connection())
    }

    fn forgotten(&self) -> anyhow::Error {
        anyhow::anyhow!("forgotten")
    }
}

#[test]
fn output_and_exit_code_wait_for_the_client_to_come_back() {
    needs_root!();
    let agent = Agent::start();
    let host = Host::new(&agent);
    let (out, running) =
        host.start(&["sh", "-c", "echo begun; sleep 2; echo done; exit 9"], std::io::empty());
    eventually("the program runs", || out.text() == "begun\n");
    host.cut();
    let outcome = within_deadline(move || running.join().unwrap());
    assert_eq!((outcome, out.text().as_str()), (Outcome::Exited(9), "begun\ndone\n"));
}

const LENGTH: usize = 64 << 20;

/// So many bytes there and back while the link is cut again and again.
#[test]
fn many_bytes_pass_by_many_links_exactly_once() {
    needs_root!();
    let agent = Agent::start();
    let host = Host::new(&agent);
    let input =
        (0..LENGTH as u64 / 8).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    let input: Arc<Vec<u8>> = Arc::new(input.collect());
    let reader = std::io::Cursor::new(SharedBytes(Arc::clone(&input)));
    let (out, running) = host.start(&["cat"], reader);
    let mut cuts = 0;
    while !running.is_finished() {
        std::thread::sleep(Duration::from_millis(150));
        host.cut();
        cuts += 1;
        assert!(cuts < 2000, "{} bytes have come", out.bytes().len());
    }
    assert_eq!(running.join().unwrap(), Outcome::Exited(0));
    assert!(out.bytes() == **input, "{} bytes of {LENGTH} after {cuts} cuts", out.bytes().len());
    assert!(cuts > 1, "it was over before the first cut");
}

struct SharedBytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A stream opened and spoken to by hand.
fn open_by_hand(link: &Link, opening: &Opening, state: &mut Resumable) -> UnixStream {
    let mut stream = link.open();
    stream.write_all(&opening.encode()).unwrap();
    if opening.resume.is_some() {
        let mut answer = [0; Answer::LENGTH];
        stream.read_exact(&mut answer).unwrap();
        let Some(Answer::Attached(received)) = Answer::decode(&answer) else { panic!() };
        state.resumed(received).unwrap();
    }
    let mut out = Vec::new();
    while state.output(&mut out) {}
    stream.write_all(&out).unwrap();
    stream
}

#[test]
fn a_client_that_closes_hangs_up_and_one_that_is_lost_does_not() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let token = Token { id: [7; 16], secret: [8; 16] };
    let mut state = Resumable::default();
    let mut request = Vec::new();
    let exec = Request::Exec(Box::new(ExecRequest::new(["sleep", &nap(98707)])));
    FromHost::Request(exec).encode(&mut request).unwrap();
    assert_eq!(state.write(&request), request.len());
    let _first = open_by_hand(&link, &Opening { token, resume: None }, &mut state);
    eventually("the program runs", || !sleeping(98707).is_empty());
    assert!(agent.attach().hello.busy);
    drop(link);
    let link = agent.attach();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!sleeping(98707).is_empty(), "a lost link does not end it");
    let resume = Some(state.received());
    let second = open_by_hand(&link, &Opening { token, resume }, &mut state);
    drop(second);
    eventually("the program has ended", || sleeping(98707).is_empty());
    eventually("nothing is left", || !agent.attach().hello.busy);
}
