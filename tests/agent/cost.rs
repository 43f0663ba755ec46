//! What the agent costs: measurements, run by hand with `--ignored`, best with
//! `NSVM_TEST_AGENT` naming the release build.

use std::process::Command;
use std::time::{Duration, Instant};

use nsvm::namespace::kind::Kind;
use nsvm::namespace::spec::{MapTarget, NamespaceSpec};
use nsvm::protocol::request::{Bytes, ExecRequest};

use crate::client::Agent;
use crate::needs_root;

const ROUNDS: usize = 300;

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}

#[test]
#[ignore = "a measurement"]
fn a_round_trip_against_a_local_spawn() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let local = median(|| assert!(Command::new("true").status().unwrap().success()));
    let request = ExecRequest::new(["true"]);
    let plain = median(|| drop(link.talk(request.clone()).outcome()));
    let options = ["--user", "--pid", "--map-root-user", "--mount-proc", "--fork", "true"];
    let util_linux =
        median(|| assert!(Command::new("unshare").args(options).status().unwrap().success()));
    let mut spec = NamespaceSpec {
        fork: true,
        map_user: Some(MapTarget::Id(0)),
        map_group: Some(MapTarget::Id(0)),
        mount_proc: Some(Bytes::from(b"/proc".to_vec())),
        ..NamespaceSpec::default()
    };
    spec.kinds = [Kind::User, Kind::Pid, Kind::Mount].into_iter().collect();
    let request = ExecRequest { namespaces: spec, ..request };
    let unshare = median(|| drop(link.talk(request.clone()).outcome()));
    eprintln!("true:    local {local:?}, agent {plain:?}");
    eprintln!("unshare: local {util_linux:?}, agent {unshare:?}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    eprintln!("agent: {}", status.lines().find(|line| line.starts_with("VmRSS")).unwrap());
}

#[test]
#[ignore = "a measurement"]
fn an_idle_agent_uses_no_cpu() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    link.exec(&["true"]);
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
        let count = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        count.unwrap().trim().parse::<u64>().unwrap()
    };
    std::thread::sleep(Duration::from_secs(1));
    let before = switches();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(switches(), before, "the agent woke up");
}
