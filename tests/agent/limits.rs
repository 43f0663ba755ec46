//! Limits, where this host's control groups are of version 2; elsewhere they
//! are refused. (The guest's are: `tests/vm` has the rest.)

use std::path::Path;

use nsvm::namespace::limits::Limits;
use nsvm::namespace::spec::NamespaceSpec;
use nsvm::protocol::outcome::{FailedStep, Outcome};

use crate::client::{Agent, Finished, Link};
use crate::namespaces::request;
use crate::needs_root;

fn limited(link: &Link, limits: Limits, script: &str) -> Finished {
    let mut request = request("nobody", NamespaceSpec::default(), &["sh", "-c", script]);
    request.limits = limits;
    link.output(request, b"")
}

#[test]
fn limits_hold_or_are_refused_with_the_reason() {
    needs_root!();
    let agent = Agent::start();
    let limits = Limits { pids: Some(7), ..Limits::NONE };
    let done = limited(
        &agent.attach(),
        limits,
        "cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/pids.max",
    );
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        match done.outcome {
            Outcome::Exited(0) => assert_eq!(done.stdout, "7\n"),
            // In a container, whose groups are somebody else's.
            Outcome::NotStarted(failure) => assert_eq!(failure.step, FailedStep::Limits),
            other => panic!("{other:?}"),
        }
        return;
    }
    let Outcome::NotStarted(failure) = &done.outcome else { panic!("{done:?}") };
    assert_eq!(failure.step, FailedStep::Limits);
    assert!(failure.message.starts_with("limits need control groups of version 2"), "{failure:?}");
}

#[test]
fn programs_do_not_share_the_agents_protection_when_memory_runs_out() {
    needs_root!();
    let agent = Agent::start_alone("echo -500 > /proc/self/oom_score_adj || :");
    let done = agent.attach().exec(&["cat", "/proc/self/oom_score_adj"]);
    let own = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", agent.pid())).unwrap();
    if own.trim() != "-500" {
        eprintln!("SKIPPED: this host protects nobody (CAP_SYS_RESOURCE is missing)");
        return;
    }
    assert_eq!(done.stdout.trim(), "0", "{done:?}");
}
