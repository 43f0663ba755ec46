//! Bytes in and out.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nsvm::app::session::{self, Stdio};
use nsvm::protocol::message::{FromAgent, FromHost, Output};
use nsvm::protocol::outcome::Outcome;
use nsvm::protocol::request::{ExecRequest, UserSpec};
use sha2::{Digest, Sha256};

use crate::client::{Agent, Captured, DEADLINE};
use crate::namespaces::{nap, sleeping};
use crate::needs_root;

#[test]
fn stdout_and_stderr_stay_apart_and_stdin_ends() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let request = ExecRequest::new(["sh", "-c", "cat; echo err >&2; echo end"]);
    let done = link.output(request, b"in\0put");
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("in\0putend\n", "err\n"));
    assert_eq!(done.outcome, Outcome::Exited(0));
}

#[test]
fn a_plain_user_can_open_its_streams_anew() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let script = "cat /dev/stdin >/dev/stdout; echo err >/dev/stderr; id -u";
    let mut request = ExecRequest::new(["sh", "-c", script]);
    request.user = Some(UserSpec { user: "65534".into(), group: None });
    let done = link.output(request, b"in\n");
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("in\n65534\n", "err\n"));
    assert_eq!(done.outcome, Outcome::Exited(0));
}

/// 64 MiB, and a gibibyte in the long run: neither end holds them.
#[test]
fn many_bytes_come_back_unchanged() {
    needs_root!();
    let length = if std::env::var_os("NSVM_TEST_ALL").is_some() { 1 << 30 } else { 64 << 20 };
    let agent = Agent::start();
    let link = agent.attach();
    let (sent, came) = (Digesting::default(), Digesting::default());
    let noise = std::fs::File::open("/dev/urandom").unwrap().take(length);
    let stdio = Stdio {
        stdin: Box::new(Noted { inner: noise, digest: sent.clone() }),
        stdout: Box::new(came.clone()),
        stderr: Box::new(std::io::sink()),
    };
    let started = Instant::now();
    let (connection, request) = (link.connection(), ExecRequest::new(["cat"]));
    assert_eq!(session::run(connection, request, stdio).unwrap(), Outcome::Exited(0));
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("{} MiB through cat in {seconds:.2} s", length >> 20);
    assert_eq!(came.bytes_and_digest(), sent.bytes_and_digest());
    assert_eq!(came.bytes_and_digest().0, length);
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 64 * 1024, "the agent took {peak} kB");
}

/// Counts and digests what is written.
#[derive(Clone, Default)]
struct Digesting(Arc<Mutex<(u64, Sha256)>>);

impl Digesting {
    fn bytes_and_digest(&self) -> (u64, Vec<u8>) {
        let (count, digest) = &*self.0.lock().unwrap();
        (*count, digest.clone().finalize().to_vec())
    }
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let (count, digest) = &mut *self.0.lock().unwrap();
        *count += bytes.len() as u64;
        digest.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Noted<R> {
    inner: R,
    digest: Digesting,
}

impl<R: Read> Read for Noted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.write_all(&buffer[..count])?;
        Ok(count)
    }
}

#[test]
fn many_small_writes_stay_in_order() {
    needs_root!();
    let agent = Agent::start();
    // The shell writes each line by itself.
    let script = "i=0; while [ $i -lt 100000 ]; do echo $i; i=$((i + 1)); done";
    let done = agent.attach().exec(&["sh", "-c", script]);
    assert!(done.stdout.lines().map(|line| line.parse::<u32>().unwrap()).eq(0..100_000));
}

#[test]
fn each_byte_of_a_prompt_arrives_at_once() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let mut talk = link.talk(ExecRequest::new(["sh", "-c", "printf 1; read x; printf 2; cat"]));
    talk.stdout_until("1");
    talk.send(&FromHost::Stdin(b"\n"));
    talk.stdout_until("2");
    talk.send(&FromHost::StdinEof);
    assert_eq!(talk.outcome(), Outcome::Exited(0));
}

#[test]
fn a_command_that_reads_nothing_delays_no_other() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let mut stuck = link.talk(ExecRequest::new(["sleep", "1000"]));
    // All the credit, of which a pipe takes a quarter.
    for _ in 0..4 {
        stuck.send(&FromHost::Stdin(&vec![0; 64 * 1024]));
    }
    let started = Instant::now();
    assert_eq!(link.exec(&["echo", "free"]).stdout, "free\n");
    assert!(started.elapsed() < DEADLINE / 4);
    stuck.send(&FromHost::Signal(15));
    assert_eq!(stuck.outcome(), Outcome::Signaled { signal: 15, core: false });
}

#[test]
fn more_stdin_than_the_credit_ends_the_stream() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let mut greedy = link.talk(ExecRequest::new(["sleep", "1000"]));
    for _ in 0..6 {
        let mut bytes = Vec::new();
        FromHost::Stdin(&vec![0; 64 * 1024]).encode(&mut bytes).unwrap();
        // The last ones may find the stream closed.
        let _ = greedy.stream.write_all(&bytes);
    }
    while let Some(started) =
        greedy.next(|m| matches!(m, FromAgent::Started { .. } | FromAgent::StdinCredit(_)))
    {
        assert!(started);
    }
    assert_eq!(link.exec(&["true"]).outcome, Outcome::Exited(0));
}

#[test]
fn a_closed_output_ends_its_writer() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let mut endless = link.talk(ExecRequest::new(["yes"]));
    endless.stdout_until("y\ny\n");
    endless.send(&FromHost::CloseOutput(Output::Stdout));
    assert_eq!(endless.outcome(), Outcome::Signaled { signal: 13, core: false });
}

#[test]
fn a_closed_stdin_leaves_the_program_to_its_end() {
    needs_root!();
    let agent = Agent::start();
    let stdout = Captured::new();
    let stdio = Stdio {
        stdin: Box::new(std::io::repeat(b'x')),
        stdout: stdout.writer(),
        stderr: Box::new(std::io::sink()),
    };
    let script = "head -c 3; exec <&-; sleep 0.2; echo done; exit 4";
    let request = ExecRequest::new(["sh", "-c", script]);
    assert_eq!(agent.attach().run(request, stdio).unwrap(), Outcome::Exited(4));
    assert_eq!(stdout.text(), "xxxdone\n");
}

#[test]
fn what_a_program_leaves_behind_does_not_keep_the_outcome() {
    needs_root!();
    let agent = Agent::start();
    let started = Instant::now();
    let script = format!("echo first; sleep {} & echo last", nap(98707));
    let done = agent.attach().exec(&["sh", "-c", &script]);
    assert_eq!(done.stdout, "first\nlast\n");
    assert_eq!(done.outcome, Outcome::Exited(0));
    assert!(started.elapsed() < DEADLINE / 4);
    for pid in sleeping(98707) {
        std::process::Command::new("kill").arg(pid.to_string()).status().unwrap();
    }
}

#[test]
fn output_that_nobody_reads_stops_the_program_not_the_agent() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let mut endless = link.talk(ExecRequest::new(["yes"]));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(link.exec(&["echo", "free"]).stdout, "free\n");
    endless.send(&FromHost::Signal(9));
    endless.next(|message| assert!(matches!(message, FromAgent::Started { .. })));
    assert_eq!(endless.outcome(), Outcome::Signaled { signal: 9, core: false });
}
