//! Named namespaces: what outlives the programs in it, and whose it is.

mod lasting;
mod many;

use std::fs;
use std::path::Path;

use nsvm::namespace::kind::{Kind, Kinds};
use nsvm::namespace::limits::Limits;
use nsvm::namespace::named::{Name, Named, NamedSpec, State};
use nsvm::namespace::spec::{MapRange, MapTarget, NamespaceSpec};
use nsvm::protocol::outcome::{Failure, Outcome};
use nsvm::protocol::request::{Bytes, ExecRequest, NamedVerb};

use crate::client::{Agent, Finished, Link, eventually};
use crate::namespaces::{article, kinds, nap, sleeping};
use crate::needs_root;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// All kinds, with root mapped and a proc of its own.
fn whole() -> NamespaceSpec {
    let proc = Some(Bytes::from(b"/proc".to_vec()));
    let root = Some(MapTarget::Id(0));
    NamespaceSpec {
        kinds: Kind::ALL.into_iter().collect(),
        map_user: root.clone(),
        map_group: root,
        mount_proc: proc,
        ..NamespaceSpec::default()
    }
}

fn of(kinds: Kinds) -> NamespaceSpec {
    NamespaceSpec { kinds, ..NamespaceSpec::default() }
}

fn create(link: &Link, user: &str, text: &str, spec: NamespaceSpec) -> Result<Named, Failure> {
    let spec = NamedSpec { name: name(text), namespaces: spec, limits: Limits::NONE };
    let made = link.named_as(user, NamedVerb::Create(Box::new(spec)))?;
    assert_eq!(made.len(), 1);
    Ok(made.into_iter().next().unwrap())
}

fn inspect(link: &Link, text: &str) -> Named {
    link.named(NamedVerb::Inspect(name(text))).unwrap().remove(0)
}

fn remove(link: &Link, text: &str) -> Result<(), Failure> {
    link.named(NamedVerb::Remove { name: name(text), force: false })
        .map(|told| assert_eq!(told, []))
}

fn inside(user: &str, text: &str, script: &str) -> ExecRequest {
    let mut request = ExecRequest::new(["bash", "-c", script]);
    request.user = Some(user.parse().unwrap());
    request.inside = Some(name(text));
    request
}

fn exec(link: &Link, user: &str, text: &str, script: &str) -> Finished {
    link.output(inside(user, text, script), b"")
}

fn refusal(finished: &Finished) -> &str {
    let Outcome::NotStarted(failure) = &finished.outcome else { panic!("{finished:?}") };
    &failure.message
}

/// Whoever is its parent may not have taken notice yet.
fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

const LINKS: &str = "readlink /proc/self/ns/{mnt,uts,ipc,net,pid,user,cgroup,time}";

#[test]
fn programs_share_the_namespaces_and_are_root_in_them() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    for user in ["root", "nobody"] {
        let spec = NamespaceSpec { hostname: Some("inner.example".into()), ..whole() };
        let made = create(&link, user, "web", spec).unwrap();
        assert_eq!((made.state, made.user.as_str(), made.kinds.len()), (State::Running, user, 8));
        let first = exec(&link, user, "web", &format!("id -u; hostname; {LINKS}"));
        let lines: Vec<_> = first.stdout.lines().collect();
        assert_eq!(lines[..2], ["0", "inner.example"], "{first:?}");
        for (kind, line) in Kind::ALL.into_iter().zip(&lines[2..]) {
            let own = fs::read_link(Path::new("/proc/self/ns").join(kind.proc_name())).unwrap();
            assert_ne!(own.to_str(), Some(*line));
            let told = made.namespaces[kind.option()];
            assert!(line.ends_with(&format!("[{told}]")), "{kind:?}: {line} {told}");
        }
        let second = exec(&link, user, "web", &format!("id -u; hostname; {LINKS}"));
        assert_eq!(second.stdout, first.stdout);
        // Its processes alone: the holder, this shell and what it runs.
        let seen =
            exec(&link, user, "web", "cat /proc/1/cmdline | tr '\\0' ' '; echo /proc/[0-9]*");
        assert!(seen.stdout.starts_with("nsvm-agent hold web /proc/1 /proc/"), "{seen:?}");
        assert_eq!(seen.stdout.matches("/proc/").count(), 2, "{seen:?}");
        remove(&link, "web").unwrap();
        assert!(has_ended(made.pid.unwrap()));
        assert_eq!(link.named(NamedVerb::List).unwrap(), []);
    }
}

#[test]
fn each_kind_alone_can_be_kept() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let own = |kind: Kind| fs::read_link(Path::new("/proc/self/ns").join(kind.proc_name()));
    for kind in Kind::ALL {
        create(&link, "root", "one", of(kinds(&[kind]))).unwrap();
        let done = exec(&link, "root", "one", LINKS);
        assert_eq!(done.outcome, Outcome::Exited(0), "{kind:?}: {done:?}");
        for (other, line) in Kind::ALL.into_iter().zip(done.stdout.lines()) {
            let same = own(other).unwrap().to_str() == Some(line);
            assert_eq!(same, other != kind, "{other:?} in a new {kind:?}: {done:?}");
        }
        remove(&link, "one").unwrap();
    }
}

#[test]
fn ids_are_those_that_were_mapped() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let current = Some(MapTarget::Current);
    let same = NamespaceSpec { map_user: current.clone(), map_group: current, ..whole() };
    create(&link, "nobody", "same", same).unwrap();
    assert_eq!(exec(&link, "nobody", "same", "id -u").stdout, "65534\n");
    let far = vec![MapRange::Range { inner: 0, outer: 100_000, count: 10 }];
    let far = NamespaceSpec {
        map_user: None,
        map_group: None,
        map_users: far.clone(),
        map_groups: far,
        ..whole()
    };
    create(&link, "root", "far", far).unwrap();
    let done = exec(&link, "root", "far", "id -u; id -G; tr -s ' ' < /proc/self/uid_map");
    assert_eq!(done.stdout, "0\n0\n 0 100000 10\n", "{done:?}");
}

#[test]
fn orphans_are_reaped_and_programs_stay_until_removal() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    create(&link, "nobody", "x", whole()).unwrap();
    // Each becomes an orphan; the last ones outlive their session.
    let daemon = format!("setsid -f sleep {} </dev/null &>/dev/null", nap(98742));
    let script = format!("for i in 1 2 3; do (sleep 0.05 & ); done; {daemon}");
    exec(&link, "nobody", "x", &script);
    eventually("only the daemon is left", || inspect(&link, "x").processes.len() == 1);
    let states = "sleep 0.1; cat /proc/[0-9]*/stat | cut -d' ' -f3 | grep -c Z";
    eventually("none is a zombie", || exec(&link, "nobody", "x", states).stdout == "0\n");
    assert_eq!(inspect(&link, "x").processes, sleeping(98742));
    remove(&link, "x").unwrap();
    assert!(sleeping(98742).is_empty());
}

#[test]
fn removal_ends_what_runs_without_a_pid_namespace_too() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    create(&link, "root", "x", of(kinds(&[Kind::Net, Kind::Uts]))).unwrap();
    let hush = "</dev/null &>/dev/null";
    let nap = nap(98712);
    // One that ends when asked, one that must be killed, one that is stopped.
    let script = format!(
        "setsid -f sleep {nap} {hush}; \
         setsid -f bash -c 'trap \"\" TERM; sleep {nap}; :' {hush}; \
         setsid -f bash -c 'kill -STOP $$; sleep {nap}' {hush}"
    );
    assert_eq!(exec(&link, "root", "x", &script).outcome, Outcome::Exited(0));
    eventually("all run", || inspect(&link, "x").processes.len() == 4);
    let processes = inspect(&link, "x").processes;
    remove(&link, "x").unwrap();
    for pid in processes {
        assert!(has_ended(pid), "{pid}");
    }
}

#[test]
fn a_program_that_runs_there_ends_with_its_namespace() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    create(&link, "root", "x", whole()).unwrap();
    let mut talk = link.talk(inside("root", "x", "echo ready; exec sleep 1000"));
    talk.stdout_until("ready");
    remove(&link, "x").unwrap();
    assert_eq!(talk.outcome(), Outcome::Signaled { signal: 15, core: false });
}

#[test]
fn only_its_maker_and_root_may_use_it() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    create(&link, "nobody", "x", whole()).unwrap();
    create(&link, "root", "y", of(kinds(&[Kind::Uts]))).unwrap();
    let text = "namespace \"x\" belongs to user nobody";
    let verbs = [NamedVerb::Inspect(name("x")), NamedVerb::Remove { name: name("x"), force: true }];
    for verb in verbs {
        assert_eq!(link.named_as("4242", verb).unwrap_err().message, text);
    }
    assert_eq!(refusal(&exec(&link, "4242", "x", "true")), text);
    let refused = exec(&link, "nobody", "y", "true");
    assert_eq!(refusal(&refused), "namespace \"y\" belongs to user root");
    let seen = |user: &str| link.named_as(user, NamedVerb::List).unwrap().len();
    assert_eq!((seen("4242"), seen("nobody"), seen("root")), (0, 1, 2));
    // Root is in it who its maker is.
    let done = exec(&link, "root", "x", "id -u; tr -s ' ' < /proc/self/uid_map");
    assert_eq!(done.stdout, "0\n 0 65534 1\n");
}

#[test]
fn what_cannot_be_made_leaves_nothing() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let refused = |user: &str, spec| create(&link, user, "x", spec).unwrap_err().message;
    let plain = refused("nobody", of(kinds(&[Kind::Net])));
    assert_eq!(plain, "unshare failed: Operation not permitted");
    let nothing = refused("root", of(Kinds::NONE));
    assert_eq!(nothing, "a named namespace needs a kind of namespace");
    let dir = Some(Bytes::from(b"/no/such/dir".to_vec()));
    let mount = refused("root", NamespaceSpec { mount_proc: dir, ..whole() });
    assert_eq!(mount, "mount /no/such/dir failed: No such file or directory");
    let subids = NamespaceSpec { map_users: vec![MapRange::Auto], ..whole() };
    let subids = refused("4242", subids);
    assert_eq!(subids, "you (user 4242) don't exist.");
    let bad = NamespaceSpec { hostname: Some("a b".into()), ..whole() };
    assert!(refused("root", bad).starts_with("invalid host name \"a b\""));
    assert_eq!(link.named(NamedVerb::List).unwrap(), []);
    assert_eq!(agent.children(), [] as [u32; 0]);
    let none = remove(&link, "x").unwrap_err();
    assert_eq!(none.message, "no namespace is named \"x\"");
    link.named(NamedVerb::Remove { name: name("x"), force: true }).unwrap();
    assert_eq!(refusal(&exec(&link, "root", "x", "true")), none.message);
    let mut both = inside("root", "x", "true");
    both.namespaces = article();
    let done = link.output(both, b"");
    let text = "a program in a named namespace enters and makes no others, and has its limits";
    assert_eq!(refusal(&done), text);
    let mut limited = inside("root", "x", "true");
    limited.limits = Limits { pids: Some(1), ..Limits::NONE };
    assert_eq!(refusal(&link.output(limited, b"")), text);
}
