//! A session against an agent of threads and pipes.

use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::protocol::outcome::{FailedStep, Failure};

const DEADLINE: Duration = Duration::from_secs(10);

/// The agent's end: what the host sent, and a way to answer.
struct Agent {
    reader: io::PipeReader,
    writer: io::PipeWriter,
    decoder: Decoder,
}

impl Agent {
    fn connect() -> (Self, Connection) {
        let (reader, host_writer) = io::pipe().unwrap();
        let (host_reader, writer) = io::pipe().unwrap();
        let connection = Connection::new(host_reader, host_writer);
        (Self { reader, writer, decoder: Decoder::default() }, connection)
    }

    fn expect<T>(&mut self, check: impl FnOnce(FromHost<'_>) -> T) -> T {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return check(FromHost::decode(frame).unwrap());
            }
            let count = self.reader.read(self.decoder.space()).unwrap();
            assert!(count > 0, "the host has closed");
            self.decoder.filled(count);
        }
    }

    fn send(&mut self, message: &FromAgent<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.writer.write_all(&bytes).unwrap();
    }
}

fn silent() -> Stdio {
    Stdio {
        stdin: Box::new(io::empty()),
        stdout: Box::new(io::sink()),
        stderr: Box::new(io::sink()),
    }
}

/// Runs the session aside; the receiver has a deadline.
fn start(connection: Connection, stdio: Stdio) -> mpsc::Receiver<anyhow::Result<Outcome>> {
    let (done, receiver) = mpsc::channel();
    thread::spawn(move || done.send(run(connection, ExecRequest::new(["x"]), stdio)));
    receiver
}

#[test]
fn streams_stay_apart_and_stdin_ends() {
    let (mut agent, connection) = Agent::connect();
    let ((mut out, host_out), (mut err, host_err)) = (io::pipe().unwrap(), io::pipe().unwrap());
    let stdio = Stdio {
        stdin: Box::new(&b"input"[..]),
        stdout: Box::new(host_out),
        stderr: Box::new(host_err),
    };
    let done = start(connection, stdio);
    agent.expect(|m| assert!(matches!(m, FromHost::Request(Request::Exec(_)))));
    agent.expect(|m| assert_eq!(m, FromHost::Stdin(b"input")));
    agent.expect(|m| assert_eq!(m, FromHost::StdinEof));
    agent.send(&FromAgent::Started { pid: 1 });
    agent.send(&FromAgent::Stdout(b"o\0"));
    agent.send(&FromAgent::Stderr(b"e"));
    agent.send(&FromAgent::Outcome(Outcome::Exited(7)));
    assert_eq!(done.recv_timeout(DEADLINE).unwrap().unwrap(), Outcome::Exited(7));
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    out.read_to_end(&mut stdout).unwrap();
    err.read_to_end(&mut stderr).unwrap();
    assert_eq!((&stdout[..], &stderr[..]), (&b"o\0"[..], &b"e"[..]));
}

#[test]
fn stdin_waits_for_credit() {
    let (mut agent, connection) = Agent::connect();
    let stdio = Stdio { stdin: Box::new(io::repeat(1)), ..silent() };
    let done = start(connection, stdio);
    agent.expect(|_| ());
    let mut received = 0;
    while received < INITIAL_STDIN_CREDIT {
        received += agent.expect(|m| match m {
            FromHost::Stdin(bytes) => bytes.len(),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(received, INITIAL_STDIN_CREDIT);
    agent.send(&FromAgent::StdinCredit(5));
    agent.expect(|m| assert_eq!(m, FromHost::Stdin(&[1; 5])));
    agent.send(&FromAgent::Outcome(Outcome::Exited(0)));
    assert!(done.recv_timeout(DEADLINE).unwrap().is_ok());
}

#[test]
fn the_outcome_does_not_wait_for_stdin() {
    let (mut agent, connection) = Agent::connect();
    let (blocked, _writer) = io::pipe().unwrap();
    let done = start(connection, Stdio { stdin: Box::new(blocked), ..silent() });
    let failure = Failure { step: FailedStep::Exec, errno: 2, message: "m".into() };
    agent.send(&FromAgent::Outcome(Outcome::NotStarted(failure.clone())));
    let outcome = done.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(outcome, Outcome::NotStarted(failure));
}

#[test]
fn a_reader_that_has_gone_closes_the_output_in_the_guest() {
    let (mut agent, connection) = Agent::connect();
    let (reader, stdout) = io::pipe().unwrap();
    drop(reader);
    let (blocked, _writer) = io::pipe().unwrap();
    let streams = Stdio { stdin: Box::new(blocked), stdout: Box::new(stdout), ..silent() };
    let done = start(connection, streams);
    agent.expect(|_| ());
    agent.send(&FromAgent::Stdout(b"x"));
    agent.expect(|m| assert_eq!(m, FromHost::CloseOutput(Output::Stdout)));
    agent.send(&FromAgent::Stdout(b"more is dropped"));
    agent.send(&FromAgent::Outcome(Outcome::Signaled { signal: 13, core: false }));
    let outcome = done.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(outcome, Outcome::Signaled { signal: 13, core: false });
}

#[test]
fn a_lost_connection_and_a_broken_one_are_errors() {
    let (agent, connection) = Agent::connect();
    let done = start(connection, silent());
    drop(agent.writer);
    let error = done.recv_timeout(DEADLINE).unwrap().unwrap_err();
    assert!(error.to_string().contains("lost"), "{error}");

    let (mut agent, connection) = Agent::connect();
    let done = start(connection, silent());
    agent.writer.write_all(&[0xff; 5]).unwrap();
    let error = done.recv_timeout(DEADLINE).unwrap().unwrap_err();
    assert!(error.to_string().contains("unknown kind 255"), "{error}");
}
