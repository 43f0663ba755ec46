//! What the agent must not give away: users get what they asked for as
//! themselves, and no look into the agent, which is root.

use std::os::unix::fs::{FileExt, PermissionsExt};

use nsvm::namespace::kind::Kind;
use nsvm::namespace::spec::NamespaceSpec;
use nsvm::protocol::message::{FromAgent, FromHost};
use nsvm::protocol::outcome::Outcome;
use nsvm::protocol::request::{Bytes, ExecRequest};

use crate::client::{Agent, eventually};
use crate::namespaces::{article, kinds, request, run};
use crate::needs_root;

#[test]
fn who_stays_behind_at_a_fork_cannot_be_looked_into() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let spec = NamespaceSpec { fork: true, ..NamespaceSpec::default() };
    let script = "cd /proc/$PPID; grep -E '^[UG]id' status; \
        for f in environ maps mem auxv; do head -c 1 $f && echo open; done; ls fd && echo open";
    let done = run(&link, "nobody", spec, script);
    assert!(!done.stdout.contains("open"), "{done:?}");
    let own = "Uid:\t65534\t65534\t65534\t65534";
    assert!(done.stdout.contains(own) && done.stderr.contains("denied"), "{done:?}");
}

#[test]
fn a_program_has_no_group_but_its_users() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let groups = "grep -E '^(Gid|Groups)' /proc/self/status";
    let own = "Gid:\t65534\t65534\t65534\t65534\nGroups:\t65534 \n";
    assert_eq!(run(&link, "nobody", NamespaceSpec::default(), groups).stdout, own);
    let apart = run(&link, "nobody", article(), groups);
    assert!(apart.stdout.starts_with("Gid:\t0\t0\t0\t0\n"), "{apart:?}");
    for gid in [0, 4] {
        let spec = NamespaceSpec { setgid: Some(gid), ..NamespaceSpec::default() };
        let done = run(&link, "nobody", spec, groups);
        assert!(matches!(done.outcome, Outcome::NotStarted(_)), "{done:?}");
        // Without the call that is refused first.
        let mut entering = request("nobody", NamespaceSpec::default(), &["sh", "-c", groups]);
        entering.enter = Some(Box::new(nsvm::namespace::enter::EnterSpec {
            target: Some(std::process::id()),
            kinds: kinds(&[Kind::Net]),
            setgid: Some(nsvm::namespace::enter::Id::Number(gid)),
            ..Default::default()
        }));
        assert!(matches!(link.output(entering, b"").outcome, Outcome::NotStarted(_)));
    }
}

/// A process that is about to become a program may be looked into by its
/// user: what others have sent to the agent is not in it.
#[test]
fn what_becomes_a_program_has_no_memory_of_others() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    // Made of two halves, so that none of this test's own texts is one.
    let secret = ["a-secret-", "of-root-7431"].concat();
    let mut other =
        ExecRequest::new(["sh", "-c", "echo ready; read -r line; echo got $line; sleep 1000"]);
    other.env.push((Bytes::from(b"SECRET".to_vec()), Bytes::from(secret.clone().into_bytes())));
    let mut talk = link.talk(other);
    let pid = talk.next(|message| match message {
        FromAgent::Started { pid } => pid,
        other => panic!("{other:?}"),
    });
    talk.stdout_until("ready");
    assert!(remembers(pid.unwrap(), &secret), "the search finds nothing");
    talk.send(&FromHost::Stdin(format!("{secret}\n").as_bytes()));
    talk.stdout_until(&secret);
    for _ in 0..3 {
        link.exec(&["true"]);
        eventually("a copy waits", || agent.launchers().len() == 2);
        for pid in agent.launchers() {
            assert!(!remembers(pid, &secret), "process {pid} knows of others");
        }
    }
}

/// Whether a text is in the memory of a process.
fn remembers(pid: u32, text: &str) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    maps.lines().any(|line| {
        let mut words = line.split_whitespace();
        let (from, to) = words.next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        let writable = words.next().unwrap().starts_with("rw");
        writable
            && memory.read_exact_at(&mut bytes, from).is_ok()
            && bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

/// The two ways in are root's: the socket, and what runs from it.
#[test]
fn nobody_reaches_the_agent_by_the_files_it_keeps() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let socket = agent.socket();
    let script = format!(
        "cd /proc/{}; for f in environ maps mem auxv root/etc/shadow fd/0; do \
            head -c 1 $f && echo open; done; ls fd && echo open; \
            kill -0 {0} && echo open; {} attach --socket {} </dev/null && echo open; :",
        agent.pid(),
        crate::client::program().display(),
        socket.display(),
    );
    let done = run(&link, "nobody", NamespaceSpec::default(), &script);
    assert_eq!((done.stdout.as_str(), done.outcome), ("", Outcome::Exited(0)), "{}", done.stderr);
}

/// What a user asks for is done with the user's rights: files it may not open
/// are not opened for it, whatever option names them.
#[test]
fn options_open_no_file_with_the_agents_rights() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let bytes = |text: &str| Some(Bytes::from(text.as_bytes().to_vec()));
    let private = tempfile::tempdir().unwrap();
    std::fs::set_permissions(private.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let inside = private.path().join("x");
    std::fs::create_dir(&inside).unwrap();
    let inside = inside.to_str().unwrap();
    let base = NamespaceSpec::default;
    for spec in [
        NamespaceSpec { root: bytes(inside), ..article() },
        NamespaceSpec { wd: bytes(inside), ..base() },
        NamespaceSpec { mount_proc: bytes(inside), ..article() },
        NamespaceSpec { owner: Some((0, 0)), ..article() },
        NamespaceSpec { kinds: kinds(&[Kind::Net]), ..base() },
        NamespaceSpec { setuid: Some(0), ..base() },
    ] {
        let text = format!("{spec:?}");
        let done = run(&link, "nobody", spec, "id -u");
        assert!(matches!(done.outcome, Outcome::NotStarted(_)), "{text}: {done:?}");
    }
    let mut request = request("nobody", base(), &["pwd"]);
    request.cwd = bytes(inside);
    assert!(matches!(link.output(request, b"").outcome, Outcome::NotStarted(_)));
}
