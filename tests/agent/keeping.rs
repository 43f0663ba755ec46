//! Namespaces kept by files, owned by others, and signals passed on.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use nsvm::namespace::enter::KindFile;
use nsvm::namespace::kind::Kind;
use nsvm::namespace::spec::{MapTarget, NamespaceSpec};
use nsvm::protocol::message::FromHost;
use nsvm::protocol::outcome::Outcome;
use nsvm::protocol::request::Bytes;

use crate::client::Agent;
use crate::namespaces::{kinds, request, run};
use crate::needs_root;

/// Files to bind namespaces to, on a mount of their own that is private: a
/// mount namespace can be bound nowhere else.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "--make-private", "none"])
            .arg(dir.path())
            .status();
        assert!(mounted.unwrap().success());
        Self(dir)
    }

    fn file(&self, kind: Kind) -> (KindFile, PathBuf) {
        let path = self.0.path().join(kind.option());
        File::create(&path).unwrap();
        let bytes = Bytes::from(path.as_os_str().as_encoded_bytes().to_vec());
        (KindFile { kind, path: bytes }, path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-R", "-l"]).arg(self.0.path()).status();
    }
}

#[test]
fn files_keep_every_kind_beyond_the_program() {
    needs_root!();
    let place = Place::new();
    let agent = Agent::start();
    let link = agent.attach();
    for (fork, kind) in Kind::ALL.into_iter().flat_map(|kind| [(false, kind), (true, kind)]) {
        if kind == Kind::Pid && !fork {
            // It has no first process yet that a file could be bound for.
            continue;
        }
        let (file, path) = place.file(kind);
        let spec = NamespaceSpec {
            kinds: kinds(&[kind]),
            fork,
            persist: vec![file],
            ..Default::default()
        };
        let script = format!("stat -Lc %i /proc/self/ns/{}", kind.proc_name());
        let done = run(&link, "root", spec, &script);
        assert_eq!(done.outcome, Outcome::Exited(0), "{kind:?}: {done:?}");
        // A program in a new time namespace is in it from its exec on.
        let inode = fs::metadata(&path).unwrap().ino().to_string();
        if !matches!(kind, Kind::Pid) {
            assert_eq!(done.stdout.trim(), inode, "{kind:?}, fork {fork}");
        }
        let unmounted = Command::new("umount").arg(&path).status().unwrap();
        assert!(unmounted.success(), "{kind:?} is not kept");
    }
}

#[test]
fn what_cannot_be_kept_is_told() {
    needs_root!();
    let place = Place::new();
    let agent = Agent::start();
    let link = agent.attach();
    let spec = |kind, fork| {
        let path = Bytes::from(b"/no/such/file".to_vec());
        let persist = vec![KindFile { kind, path }];
        NamespaceSpec { kinds: kinds(&[kind]), fork, persist, ..Default::default() }
    };
    for (kind, fork) in
        [(Kind::Net, false), (Kind::Net, true), (Kind::Mount, false), (Kind::Mount, true)]
    {
        let done = run(&link, "root", spec(kind, fork), "exec sleep 1000");
        let Outcome::NotStarted(failure) = &done.outcome else { panic!("{done:?}") };
        let text = &failure.message;
        assert!(text.starts_with("mount /proc/") && text.contains("on /no/such/file"), "{text}");
    }
    drop(place);
}

#[test]
fn a_user_namespace_can_belong_to_another() {
    needs_root!();
    let agent = Agent::start();
    let spec = NamespaceSpec {
        kinds: kinds(&[Kind::User]),
        owner: Some((4242, 4343)),
        map_user: Some(MapTarget::Id(4242)),
        map_group: Some(MapTarget::Id(0)),
        ..Default::default()
    };
    let script = "tr -s ' ' < /proc/self/uid_map; stat -c '%u %g' /proc/self/ns/user; sleep 0";
    let done = run(&agent.attach(), "root", spec, script);
    assert_eq!(done.stdout.lines().next(), Some(" 4242 0 1"), "{done:?}");
}

#[test]
fn signals_are_passed_on_when_asked_for() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let spec = NamespaceSpec { fork: true, forward_signals: true, ..Default::default() };
    // In a session of its own, so that only the parent can reach it.
    let mut talk = link.talk(request("nobody", spec, &["setsid", "sh", "-c", script]));
    talk.stdout_until("ready");
    talk.send(&FromHost::Signal(15));
    talk.stdout_until("caught");
    assert_eq!(talk.outcome(), Outcome::Exited(5));
    let spec = NamespaceSpec { fork: true, forward_signals: true, ..Default::default() };
    let mut talk = link.talk(request("nobody", spec, &["sh", "-c", script]));
    talk.stdout_until("ready");
    talk.send(&FromHost::Signal(15));
    assert!(talk.stdout_until("caught").matches("caught").count() == 1);
    assert_eq!(talk.outcome(), Outcome::Exited(5));
}
