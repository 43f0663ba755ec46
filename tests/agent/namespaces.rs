//! Programs in namespaces of their own.

use std::path::Path;

use nsvm::namespace::kind::{Kind, Kinds};
use nsvm::namespace::spec::{MapRange, MapTarget, NamespaceSpec};
use nsvm::protocol::message::FromHost;
use nsvm::protocol::outcome::{FailedStep, Outcome};
use nsvm::protocol::request::{Bytes, ExecRequest};

use crate::client::{Agent, Finished, Link, eventually};
use crate::needs_root;

/// The options of the article: --user --pid --map-root-user --mount-proc --fork.
pub fn article() -> NamespaceSpec {
    NamespaceSpec {
        kinds: kinds(&[Kind::User, Kind::Pid, Kind::Mount]),
        fork: true,
        map_user: Some(MapTarget::Id(0)),
        map_group: Some(MapTarget::Id(0)),
        mount_proc: Some(Bytes::from(b"/proc".to_vec())),
        ..NamespaceSpec::default()
    }
}

pub fn kinds(kinds: &[Kind]) -> Kinds {
    kinds.iter().copied().collect()
}

pub fn request(user: &str, spec: NamespaceSpec, argv: &[&str]) -> ExecRequest {
    let mut request = ExecRequest::new(argv.iter().copied());
    request.user = Some(user.parse().unwrap());
    request.namespaces = spec;
    request
}

pub fn run(link: &Link, user: &str, spec: NamespaceSpec, script: &str) -> Finished {
    link.output(request(user, spec, &["bash", "-c", script]), b"")
}

#[test]
fn the_example_of_the_article() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    for user in ["root", "nobody"] {
        let done = run(&link, user, article(), "id -u; id -g; echo $$; exit 7");
        assert_eq!(done.stdout, "0\n0\n1\n", "{done:?}");
        assert_eq!(done.outcome, Outcome::Exited(7));
        let done = run(&link, user, article(), "ps -ef; :");
        let lines: Vec<Vec<&str>> =
            done.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), 3, "{done:?}");
        assert_eq!((lines[1][0], lines[1][1], lines[1][7]), ("root", "1", "bash"));
        assert_eq!((lines[2][0], lines[2][1], lines[2][7]), ("root", "2", "ps"));
    }
}

#[test]
fn the_forked_programs_end_is_passed_on() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let fork = NamespaceSpec { fork: true, ..NamespaceSpec::default() };
    for signal in [9, 11, 15, 40] {
        let done = run(&link, "nobody", fork.clone(), &format!("kill -{signal} $$"));
        assert_eq!(done.outcome, Outcome::Signaled { signal, core: false });
    }
    let missing = link.output(request("root", article(), &["no-such-program"]), b"");
    let Outcome::NotStarted(failure) = missing.outcome else { panic!("{missing:?}") };
    assert_eq!((failure.step, failure.errno), (FailedStep::Exec, 2));
}

#[test]
fn every_kind_is_new_when_asked_for_and_no_other() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let own = |kind: Kind| std::fs::read_link(Path::new("/proc/self/ns").join(kind.proc_name()));
    for kind in Kind::ALL {
        let spec = NamespaceSpec {
            kinds: kinds(&[kind]),
            fork: true,
            map_user: (kind == Kind::User).then_some(MapTarget::Id(0)),
            ..NamespaceSpec::default()
        };
        let done = run(
            &link,
            "root",
            spec,
            "readlink /proc/self/ns/{mnt,uts,ipc,net,pid,user,cgroup,time}",
        );
        for (other, line) in Kind::ALL.into_iter().zip(done.stdout.lines()) {
            let same = own(other).unwrap().to_str() == Some(line);
            assert_eq!(same, other != kind, "{other:?} with a new {kind:?}: {done:?}");
        }
    }
}

#[test]
fn a_plain_user_is_refused_in_util_linux_words() {
    needs_root!();
    let agent = Agent::start();
    let spec = NamespaceSpec { kinds: kinds(&[Kind::Pid]), ..NamespaceSpec::default() };
    let done = run(&agent.attach(), "nobody", spec, "true");
    let Outcome::NotStarted(failure) = done.outcome else { panic!("{done:?}") };
    assert_eq!(failure.step, FailedStep::Namespaces);
    assert_eq!(failure.message, "unshare failed: Operation not permitted");
}

#[test]
fn ranges_are_mapped_from_outside() {
    needs_root!();
    let agent = Agent::start();
    let spec = NamespaceSpec {
        kinds: kinds(&[Kind::User]),
        map_user: Some(MapTarget::Id(0)),
        map_group: Some(MapTarget::Id(0)),
        map_users: vec![MapRange::Range { inner: 1, outer: 100_000, count: 10 }],
        map_groups: vec![MapRange::Range { inner: 1, outer: 200_000, count: 10 }],
        ..NamespaceSpec::default()
    };
    let done = run(
        &agent.attach(),
        "root",
        spec,
        "tr -s ' ' < /proc/self/uid_map; tr -s ' ' < /proc/self/gid_map",
    );
    assert_eq!(done.stdout, " 0 0 1\n 1 100000 10\n 0 0 1\n 1 200000 10\n", "{done:?}");
}

#[test]
fn a_plain_user_maps_subordinate_ids_through_newuidmap() {
    needs_root!();
    if !Path::new("/usr/bin/newuidmap").exists() {
        eprintln!("SKIPPED: this test needs newuidmap (Debian's package uidmap)");
        return;
    }
    let agent = Agent::start_with_subids("nobody:100000:65536\n");
    let link = agent.attach();
    let spec = NamespaceSpec {
        kinds: kinds(&[Kind::User]),
        map_user: Some(MapTarget::Id(0)),
        map_group: Some(MapTarget::Id(0)),
        map_users: vec![MapRange::Auto],
        map_groups: vec![MapRange::Auto],
        ..NamespaceSpec::default()
    };
    let script = "id -u; tr -s ' ' < /proc/self/uid_map; tr -s ' ' < /proc/self/gid_map";
    let done = run(&link, "nobody", spec.clone(), script);
    let map = " 0 65534 1\n 1 100000 65536\n";
    assert_eq!(done.stdout, format!("0\n{map}{map}"), "{done:?}");

    let stranger = run(&link, "4242", spec, "true");
    let Outcome::NotStarted(failure) = stranger.outcome else { panic!("{stranger:?}") };
    assert_eq!(failure.message, "you (user 4242) don't exist.");
}

#[test]
fn ids_capabilities_and_clocks_are_set() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let base = NamespaceSpec::default;
    let ids = NamespaceSpec { setuid: Some(12), setgid: Some(34), ..base() };
    assert_eq!(run(&link, "root", ids, "id -u; id -G").stdout, "12\n34\n");

    let caps = NamespaceSpec { kinds: kinds(&[Kind::User]), keep_caps: true, ..base() };
    let done = run(&link, "nobody", caps, "grep CapAmb /proc/self/status | tr -d 0");
    assert_ne!(done.stdout.trim(), "CapAmb:", "{done:?}");

    let clock = NamespaceSpec {
        kinds: kinds(&[Kind::Time]),
        fork: true,
        boottime: Some(1_000_000_000),
        ..base()
    };
    let done = run(&link, "root", clock, "cut -d. -f1 /proc/uptime");
    assert!(done.stdout.trim().parse::<u64>().unwrap() >= 1_000_000_000, "{done:?}");
}

#[test]
fn a_root_directory_is_entered() {
    needs_root!();
    let agent = Agent::start();
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("marker"), "").unwrap();
    let missing = NamespaceSpec {
        root: Some(Bytes::from(b"/no/such/root".to_vec())),
        ..NamespaceSpec::default()
    };
    let link = agent.attach();
    let done = run(&link, "root", missing, "true");
    let Outcome::NotStarted(failure) = done.outcome else { panic!("{done:?}") };
    let text = "cannot change root directory to '/no/such/root': No such file or directory";
    assert_eq!(failure.message, text);

    let bytes = |path: &Path| Some(Bytes::from(path.as_os_str().as_encoded_bytes().to_vec()));
    let wd = NamespaceSpec { wd: bytes(root.path()), ..NamespaceSpec::default() };
    assert_eq!(run(&link, "root", wd, "ls").stdout, "marker\n");
    let empty = NamespaceSpec { root: bytes(root.path()), ..NamespaceSpec::default() };
    let done = run(&link, "root", empty, "true");
    let Outcome::NotStarted(failure) = done.outcome else { panic!("{done:?}") };
    assert_eq!((failure.step, failure.errno), (FailedStep::Exec, 2));
}

#[test]
fn kill_child_ends_what_was_forked() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let spec = NamespaceSpec { kill_child: Some(9), ..article() };
    // The parent of the forked program is outside its PID namespace.
    let mut talk = link.talk(request("root", spec, &["sleep", &nap(98701)]));
    eventually("the program runs", || !sleeping(98701).is_empty());
    talk.send(&FromHost::Signal(3));
    let outcome = talk.outcome();
    assert!(matches!(outcome, Outcome::Signaled { signal: 3, .. }), "{outcome:?}");
    eventually("the program has ended", || sleeping(98701).is_empty());
}

#[test]
fn a_lost_host_ends_a_whole_pid_namespace() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    // The first process of a PID namespace ignores a SIGHUP it has no handler for.
    let _talk = link.talk(request("root", article(), &["sleep", &nap(98702)]));
    eventually("the program runs", || !sleeping(98702).is_empty());
    drop(link);
    eventually("the program has ended", || sleeping(98702).is_empty());
}

/// How long `sleep` shall sleep: never to the end, and told from the naps of
/// another run of these tests.
pub fn nap(seconds: u32) -> String {
    format!("{seconds}.{}", std::process::id())
}

/// The processes that take this nap.
pub fn sleeping(seconds: u32) -> Vec<u32> {
    pids_of(&format!("sleep {}", nap(seconds)))
}

/// Processes with exactly this command line.
fn pids_of(command: &str) -> Vec<u32> {
    let wanted: Vec<u8> =
        command.split(' ').flat_map(|arg| [arg.as_bytes(), b"\0"].concat()).collect();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c == wanted))
        .collect()
}
