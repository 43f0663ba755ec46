//! Broken peers, lost hosts, strangers.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio as Process};
use std::time::{Duration, Instant};

use nsvm::app::session;
use nsvm::protocol::message::{FromAgent, FromHost};
use nsvm::protocol::outcome::{FailedStep, Outcome};
use nsvm::protocol::request::ExecRequest;

use crate::client::{Agent, Link, attach_command, eventually, program, within_deadline};
use crate::namespaces::{nap, sleeping};
use crate::needs_root;

#[test]
fn the_agent_introduces_itself_and_its_guest() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    assert_eq!(link.hello.version, env!("CARGO_PKG_VERSION"));
    assert!(!link.hello.boot_id.is_empty() && !link.hello.kernel.is_empty());
    let connection = link.connection();
    let info = within_deadline(|| session::info(connection)).unwrap();
    assert_eq!(info.boot_id, link.hello.boot_id);
    assert!(info.namespaces.contains(&"user".to_owned()), "{info:?}");
}

#[test]
fn garbage_ends_its_own_stream_only() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let mut other = link.talk(ExecRequest::new(["cat"]));
    for garbage in
        [&b"\xff\0\0\0\0"[..], b"\x01\xff\xff\xff\xff", b"\x01\0\0\0\x02\xc1\xc1", b"\x02\0\0\0\0"]
    {
        let mut stream = link.open();
        stream.write_all(garbage).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("the request is broken"), "{garbage:?}: {text}");
    }
    let mut talk = link.talk(ExecRequest::new(["sleep", &nap(98703)]));
    talk.stream.write_all(&[0xee; 64]).unwrap();
    assert_eq!(talk.next(|message| panic!("{message:?}")), None::<()>);
    eventually("the program has ended", || sleeping(98703).is_empty());
    other.send(&FromHost::Stdin(b"alive"));
    other.stdout_until("alive");
}

/// Lengths of `MessagePack` that nobody could hold: a map, an array, bytes, a
/// text of 4 GiB, alone and where a request has them.
#[test]
fn claimed_lengths_reserve_no_memory() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    link.exec(&["true"]);
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = peak();
    for start in
        [&b""[..], b"\x81\xa4Exec", b"\x81\xa4Exec\x81\xa4argv", b"\x81\xa4Exec\x81\xa3env"]
    {
        for claim in [0xdf, 0xdd, 0xc6, 0xdb] {
            let payload = [start, &[claim, 0xff, 0xff, 0xff, 0xff]].concat();
            let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
            let mut stream = link.open();
            stream.write_all(&[&[1], &length[..], &payload].concat()).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert!(String::from_utf8_lossy(&answer).contains("the request is broken"));
        }
    }
    // serde reserves up to 1 MiB for a sequence, whatever is claimed.
    assert!(peak() < before + (16 << 10), "{} after {before} kB", peak());
}

#[test]
fn a_request_in_two_halves_of_a_frame_is_read() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let long = "x".repeat(100_000);
    let done = link.exec(&["sh", "-c", "printf %s ${#1}", "sh", &long]);
    assert_eq!(done.stdout, "100000");
    let too_long = "x".repeat(200_000);
    let Outcome::NotStarted(failure) = link.exec(&["true", &too_long]).outcome else { panic!() };
    assert_eq!((failure.step, failure.errno), (FailedStep::Exec, 7));
    assert_eq!(failure.message, "failed to execute true: Argument list too long");
}

#[test]
fn a_lost_host_ends_its_programs() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let _talk = link.talk(ExecRequest::new(["sleep", &nap(98704)]));
    eventually("the program runs", || !sleeping(98704).is_empty());
    drop(link);
    eventually("the program has ended", || sleeping(98704).is_empty());
    eventually("it was reaped", || agent.children().is_empty());
    // The agent goes on with the next link.
    assert_eq!(agent.attach().exec(&["echo", "again"]).stdout, "again\n");
}

/// Whatever is killed, the next command runs, and nothing outlives the agent.
#[test]
fn the_launcher_and_its_copies_may_be_killed() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let both = || {
        eventually("a copy waits", || agent.launchers().len() == 2);
        agent.launchers()
    };
    let kill = |pids: &[u32]| {
        let pids = pids.iter().map(ToString::to_string);
        assert!(Command::new("kill").arg("-9").args(pids).status().unwrap().success());
    };
    let [launcher, spare] = both()[..] else { unreachable!() };
    for killed in [&[spare][..], &[launcher], &[launcher, spare]] {
        let now = both();
        let killed: Vec<u32> =
            killed.iter().map(|pid| now[usize::from(*pid != launcher)]).collect();
        kill(&killed);
        let is_dead = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        eventually("they are dead", || killed.iter().all(is_dead));
        // The first may still get the copy of a launcher that is gone.
        for _ in 0..2 {
            assert_eq!(link.exec(&["echo", "there"]).stdout, "there\n");
        }
        let is_there = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        eventually("what was killed is reaped", || !killed.iter().any(is_there));
    }
    let last = both();
    drop((link, agent));
    eventually("both have ended", || {
        !last.iter().any(|pid| Path::new(&format!("/proc/{pid}/cmdline")).exists())
    });
}

#[test]
fn a_closed_stream_ends_its_program_unless_that_ignores_it() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let talk = link.talk(ExecRequest::new(["sleep", &nap(98705)]));
    let nohup = link.talk(ExecRequest::new(["nohup", "sleep", &nap(98706)]));
    eventually("both run", || !sleeping(98705).is_empty() && !sleeping(98706).is_empty());
    drop((talk, nohup));
    eventually("the program has ended", || sleeping(98705).is_empty());
    std::thread::sleep(Duration::from_millis(200));
    let survivors = sleeping(98706);
    assert_eq!(survivors.len(), 1);
    Command::new("kill").arg(survivors[0].to_string()).status().unwrap();
}

#[test]
fn only_the_agents_own_user_is_admitted() {
    needs_root!();
    let agent = Agent::start();
    drop(agent.attach());
    let socket = agent.socket();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));

    // Even where the file system would let a stranger through.
    let open = |path: &Path, bits| {
        std::fs::set_permissions(path, Permissions::from_mode(bits)).unwrap();
    };
    open(&socket, 0o666);
    open(socket.parent().unwrap(), 0o755);
    open(socket.parent().unwrap().parent().unwrap(), 0o755);
    let copy = socket.with_file_name("agent");
    std::fs::copy(program(), &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["attach", "--socket"]).arg(&socket).uid(65534).stdin(Process::piped());
    let refused = within_deadline(move || command.output().unwrap());
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(said, "nsvm-agent: user 65534 may not use this agent\n");
    assert_eq!(refused.stdout, b"");
}

#[test]
fn attach_says_when_there_is_no_agent() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let mut command = attach_command(&socket);
    let started = Instant::now();
    let failed = within_deadline(move || command.output().unwrap());
    assert!(started.elapsed() >= Duration::from_secs(10));
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stderr);
    let expected = format!("nsvm-agent: cannot reach the agent at \"{}\": ", socket.display());
    assert!(said.starts_with(&expected) && said.lines().count() == 1, "{said}");
}

#[test]
fn attach_waits_for_an_agent_that_starts_later() {
    needs_root!();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("run/agent.sock");
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        Agent::start_in(dir)
    });
    let link = Link::new(attach_command(&socket));
    assert_eq!(link.exec(&["echo", "x"]).stdout, "x\n");
    drop(late.join());
}

#[test]
fn attach_ends_with_its_channel() {
    needs_root!();
    let agent = Agent::start();
    let mut attach = attach_command(&agent.socket())
        .stdin(Process::piped())
        .stdout(Process::piped())
        .spawn()
        .unwrap();
    drop(attach.stdin.take());
    let status = within_deadline(move || attach.wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn started_names_the_process() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let mut talk = link.talk(ExecRequest::new(["sh", "-c", "echo $$"]));
    let pid = talk.next(|message| match message {
        FromAgent::Started { pid } => pid,
        other => panic!("{other:?}"),
    });
    assert!(talk.stdout_until("\n").trim() == pid.unwrap().to_string());
}
