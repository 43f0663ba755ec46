//! Many makers, many programs, many rounds.

use std::collections::BTreeSet;
use std::fs;

use nsvm::namespace::kind::Kind;
use nsvm::protocol::outcome::Outcome;

use super::{create, exec, inspect, of, remove, whole};
use crate::client::{Agent, eventually};
use crate::namespaces::{kinds, nap, sleeping};
use crate::needs_root;

#[test]
fn one_of_many_makers_wins() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let results: Vec<_> = std::thread::scope(|scope| {
        let make = || create(&link, "root", "x", whole());
        let all: Vec<_> = (0..10).map(|_| scope.spawn(make)).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    for failure in results.into_iter().filter_map(Result::err) {
        assert!(failure.message.starts_with("namespace \"x\" exists already"), "{failure:?}");
    }
    remove(&link, "x").unwrap();
}

#[test]
fn two_hundred_programs_at_once() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    create(&link, "nobody", "x", whole()).unwrap();
    std::thread::scope(|scope| {
        let run = |number: u32| {
            let link = &link;
            move || exec(link, "nobody", "x", &format!("echo {number} $$; exit {}", number % 100))
        };
        let all: Vec<_> = (0..200).map(|number| scope.spawn(run(number))).collect();
        let mut pids = BTreeSet::new();
        for (number, thread) in (0..).zip(all) {
            let done = thread.join().unwrap();
            let (told, pid) = done.stdout.trim().split_once(' ').unwrap();
            assert_eq!(told, number.to_string());
            assert_eq!(done.outcome, Outcome::Exited(u8::try_from(number % 100).unwrap()));
            assert_ne!(pid, "1");
            pids.insert(pid.to_owned());
        }
        assert!(pids.len() > 100, "numbers are used again, but not at once");
    });
    assert_eq!(inspect(&link, "x").processes, [] as [u32; 0]);
}

/// What a named namespace could leave behind. Other tests run beside this one,
/// so of the whole system only what carries our mark is counted.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    mounts: usize,
    records: usize,
    holders: usize,
    daemons: usize,
    files: usize,
    children: Vec<u32>,
    cgroups: usize,
}

const MARK: &str = "round-of-many";
const DAEMON: u32 = 98713;

impl Left {
    fn now(agent: &Agent) -> Self {
        let pid = agent.pid();
        let count = |dir: &str| fs::read_dir(dir).map_or(0, Iterator::count);
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let commands = fs::read_dir("/proc").unwrap().flatten();
        let commands = commands.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        let is_holder = |line: &Vec<u8>| String::from_utf8_lossy(line).contains(MARK);
        Self {
            mounts: mounts.lines().filter(|line| line.contains(MARK)).count(),
            records: count(&agent.state().join("ns").display().to_string()),
            holders: commands.filter(is_holder).count(),
            daemons: sleeping(DAEMON).len(),
            files: count(&format!("/proc/{pid}/fd")),
            children: agent.children(),
            cgroups: count("/sys/fs/cgroup/nsvm"),
        }
    }
}

#[test]
fn many_rounds_leave_nothing_behind() {
    needs_root!();
    let rounds = if std::env::var_os("NSVM_TEST_ALL").is_some() { 500 } else { 20 };
    let agent = Agent::start();
    let link = agent.attach();
    let before = Left::now(&agent);
    for number in 0..rounds {
        let text = format!("{MARK}-{number}");
        let spec = if number % 2 == 0 { whole() } else { of(kinds(&[Kind::Net, Kind::Mount])) };
        create(&link, "root", &text, spec).unwrap();
        let script = format!(
            "mount -t tmpfs {MARK} /tmp; setsid -f sleep {} &>/dev/null </dev/null",
            nap(DAEMON)
        );
        assert_eq!(exec(&link, "root", &text, &script).outcome, Outcome::Exited(0));
        remove(&link, &text).unwrap();
    }
    // Its directory stays.
    fs::remove_dir(agent.state().join("ns")).unwrap();
    eventually("nothing is left", || Left::now(&agent) == before);
}
