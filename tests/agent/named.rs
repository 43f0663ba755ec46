//! Named namespaces: what outlives the programs in it, and the agent.

use std::collections::BTreeSet;
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
fn the_agent_may_die() {
    needs_root!();
    let mut agent = Agent::start();
    let link = agent.attach();
    for (text, spec) in [("a", whole()), ("b", of(kinds(&[Kind::Net])))] {
        create(&link, "root", text, spec).unwrap();
    }
    let before = link.named(NamedVerb::List).unwrap();
    let links = exec(&link, "root", "a", LINKS).stdout;
    drop(link);
    agent.kill_and_start_again();
    let link = agent.attach();
    assert_eq!(link.named(NamedVerb::List).unwrap(), before);
    assert_eq!(exec(&link, "root", "a", LINKS).stdout, links);
    assert!(create(&link, "root", "a", whole()).unwrap_err().message.contains("exists already"));
    for text in ["a", "b"] {
        remove(&link, text).unwrap();
    }
    for named in before {
        assert!(has_ended(named.pid.unwrap()));
    }
}

/// Changes the record of `text` on the disk.
fn edit(agent: &Agent, text: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let path = agent.state().join(format!("ns/{text}.json"));
    let mut record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    fs::write(path, serde_json::to_vec(&record).unwrap()).unwrap();
}

fn kill(holder: &Named) {
    let pid = holder.pid.unwrap().to_string();
    std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
}

#[test]
fn after_a_reboot_it_is_gone_and_not_broken() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let made = create(&link, "nobody", "x", whole()).unwrap();
    edit(&agent, "x", |record| record["boot_id"] = "of another boot".into());
    let gone = inspect(&link, "x");
    assert_eq!((gone.state, gone.pid, gone.processes.len()), (State::Gone, None, 0));
    assert_eq!(gone.reason.as_deref(), Some("the machine has been started since it was made"));
    let done = exec(&link, "nobody", "x", "true");
    let text = "namespace \"x\" is gone: the machine has been started since it was made; \
                make it again with `nsvm ns create x`";
    assert_eq!(refusal(&done), text);
    // What has its holder's number by now is not touched.
    remove(&link, "x").unwrap();
    assert!(!has_ended(made.pid.unwrap()));
    kill(&made);

    let made = create(&link, "nobody", "y", whole()).unwrap();
    edit(&agent, "y", |record| record["holder"]["started"] = 1.into());
    assert_eq!(inspect(&link, "y").reason.as_deref(), Some("the process that held it has ended"));
    assert!(create(&link, "4242", "y", whole()).unwrap_err().message.contains("belongs to"));
    let again = create(&link, "nobody", "y", whole()).unwrap();
    assert_eq!(again.state, State::Running);
    kill(&made);
}

#[test]
fn a_holder_nobody_knows_of_ends() {
    needs_root!();
    let mut hold = std::process::Command::new(crate::client::program())
        .args(["hold", "x"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(hold.stdin.take());
    assert!(!crate::client::within_deadline(move || hold.wait().unwrap()).success());
}

#[test]
fn broken_records_hide_nothing_and_can_be_removed() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    create(&link, "root", "good", of(kinds(&[Kind::Uts]))).unwrap();
    fs::write(agent.state().join("ns/bad.json"), "{").unwrap();
    let all = link.named(NamedVerb::List).unwrap();
    let states: Vec<_> = all.iter().map(|n| (n.name.as_str(), n.state)).collect();
    assert_eq!(states, [("bad", State::Gone), ("good", State::Running)]);
    let read = exec(&link, "root", "bad", "true");
    assert!(refusal(&read).starts_with("cannot read the record of namespace \"bad\""), "{read:?}");
    remove(&link, "bad").unwrap();
    assert_eq!(link.named(NamedVerb::List).unwrap().len(), 1);
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
