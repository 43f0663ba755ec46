//! Programs in the namespaces of others, and plans told instead of run.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use nsvm::app::session::{self, Answer};
use nsvm::namespace::enter::{EnterSpec, Id, KindFile, Place};
use nsvm::namespace::kind::Kind;
use nsvm::namespace::plan::Step;
use nsvm::namespace::spec::NamespaceSpec;
use nsvm::protocol::message::FromHost;
use nsvm::protocol::outcome::{FailedStep, Outcome};
use nsvm::protocol::request::{Bytes, Request};

use crate::client::{Agent, Finished, Link, eventually, within_deadline};
use crate::namespaces::{article, kinds, nap, request, sleeping};
use crate::needs_root;

/// A process in new namespaces, ended when dropped.
struct Target(Child);

impl Target {
    /// `sleep` behind the options of unshare(1), of which it is the child
    /// when it forks.
    fn new(options: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(options).args(["--kill-child", "sleep", "1000"]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("MARK", "a b");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// The program itself, once it runs.
    fn pid(&self) -> u32 {
        let list = format!("/proc/{0}/task/{0}/children", self.0.id());
        let child = || std::fs::read_to_string(&list).ok()?.trim().parse::<u32>().ok();
        let runs = |pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c == "sleep\n")
        };
        eventually("the target runs", || child().is_some_and(runs));
        child().unwrap()
    }
}

impl Drop for Target {
    /// The program by itself: a change of its user makes it outlive its
    /// parent (PR_SET_PDEATHSIG in prctl(2)).
    fn drop(&mut self) {
        let program = rustix::process::Pid::from_raw(self.pid().cast_signed()).unwrap();
        let _ = rustix::process::kill_process(program, rustix::process::Signal::KILL);
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn enter(link: &Link, user: &str, spec: EnterSpec, script: &str) -> Finished {
    let mut request = request(user, NamespaceSpec::default(), &["bash", "-c", script]);
    request.enter = Some(Box::new(spec));
    link.output(request, b"")
}

fn of(target: u32, set: &[Kind]) -> EnterSpec {
    EnterSpec { target: Some(target), kinds: kinds(set), ..EnterSpec::default() }
}

fn links(pid: &str) -> String {
    let link = |kind: Kind| std::fs::read_link(format!("/proc/{pid}/ns/{}", kind.proc_name()));
    Kind::ALL.map(|kind| format!("{}\n", link(kind).unwrap().display())).concat()
}

const LINKS: &str = "readlink /proc/self/ns/{mnt,uts,ipc,net,pid,user,cgroup,time}";

/// The words of a program that did not start.
fn refusal(done: &Finished) -> (FailedStep, String) {
    let Outcome::NotStarted(failure) = &done.outcome else { panic!("{done:?}") };
    (failure.step, failure.message.clone())
}

#[test]
fn each_kind_is_entered_and_no_other() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let target = Target::new(&["-muinpUCT", "--map-root-user"]);
    let pid = target.pid();
    let (own, theirs) = (links("self"), links(&pid.to_string()));
    for kind in Kind::ALL {
        // Our own /proc, which a new mount namespace has too.
        let done = enter(&link, "root", of(pid, &[kind]), LINKS);
        let expected = own.lines().zip(theirs.lines()).zip(Kind::ALL);
        let expected = expected.map(|((own, theirs), k)| if k == kind { theirs } else { own });
        let expected: Vec<&str> = expected.collect();
        assert_eq!(done.stdout.lines().collect::<Vec<_>>(), expected, "{done:?}");
    }
}

#[test]
fn all_namespaces_of_a_process() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let target = Target::new(&["-muinpUCT", "--map-root-user", "--mount-proc"]);
    let pid = target.pid();
    let all = EnterSpec { target: Some(pid), all: true, ..EnterSpec::default() };
    let done = enter(&link, "root", all.clone(), &format!("{LINKS}; id -u; id -G; exit 9"));
    assert_eq!(done.stdout, format!("{}0\n0\n", links(&pid.to_string())), "{done:?}");
    assert_eq!(done.outcome, Outcome::Exited(9));
    // What ends it is passed on.
    let done = enter(&link, "root", all, "kill -40 $$");
    assert_eq!(done.outcome, Outcome::Signaled { signal: 40, core: false });
}

#[test]
fn a_plain_user_enters_what_is_theirs_alone() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let target = Target::new(&["-pn", "--fork"]);
    let pid = target.pid();
    let done = enter(&link, "nobody", of(pid, &[Kind::Net]), "true");
    let expected = "reassociate to namespaces failed: Operation not permitted";
    assert_eq!(refusal(&done), (FailedStep::Namespaces, expected.to_owned()));
    let all = EnterSpec { target: Some(pid), all: true, ..EnterSpec::default() };
    let expected = format!("stat of /proc/{pid}/ns/user failed: Permission denied");
    assert_eq!(refusal(&enter(&link, "nobody", all, "true")).1, expected);
    let file =
        KindFile { kind: Kind::Net, path: Bytes::from(format!("/proc/{pid}/ns/net").into_bytes()) };
    let by_file = EnterSpec { files: vec![file], ..EnterSpec::default() };
    let expected = format!("cannot open /proc/{pid}/ns/net: Permission denied");
    assert_eq!(refusal(&enter(&link, "nobody", by_file, "true")).1, expected);
    // Their own: the user namespace gives the privilege for the others.
    let mut talk = link.talk(request("nobody", article(), &["sleep", &nap(98711)]));
    let found = || sleeping(98711);
    eventually("the program runs", || !found().is_empty());
    let own = found()[0];
    let preserve =
        EnterSpec { preserve_credentials: true, ..of(own, &[Kind::User, Kind::Pid, Kind::Mount]) };
    let done = enter(&link, "nobody", preserve, "id -u; ps -C sleep -o comm=");
    talk.send(&FromHost::Signal(9));
    talk.outcome();
    assert_eq!(done.stdout, "0\nsleep\n", "{done:?}");
}

#[test]
fn identity_environment_and_directories_are_the_targets() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let target =
        Target::new(&["-u", "--fork", "--setuid", "12", "--setgid", "34", "--wd=/usr/lib"]);
    let pid = target.pid();
    let uts = || of(pid, &[Kind::Uts]);
    let follow = EnterSpec { setuid: Some(Id::Follow), setgid: Some(Id::Follow), ..uts() };
    assert_eq!(enter(&link, "root", follow, "id -u; id -G").stdout, "12\n34\n");
    let env = EnterSpec { env: true, ..uts() };
    let done = enter(&link, "root", env, "echo $MARK; echo ${HOME-none}");
    assert_eq!(done.stdout, "a b\nnone\n", "{done:?}");
    let wd = EnterSpec { wd: Some(Place::Target), ..uts() };
    assert_eq!(enter(&link, "root", wd, "pwd").stdout, "/usr/lib\n");
    let path = |text: &str| Some(Place::Path(Bytes::from(text.as_bytes().to_vec())));
    let inside = EnterSpec { wdns: Some(Bytes::from(b"/usr".to_vec())), ..uts() };
    assert_eq!(enter(&link, "root", inside, "pwd").stdout, "/usr\n");
    let root = tempfile::tempdir().unwrap();
    let root_path = root.path().to_str().unwrap();
    let changed = EnterSpec { root: path(root_path), ..uts() };
    let (step, message) = refusal(&enter(&link, "root", changed, "true"));
    assert_eq!((step, message.contains("failed to execute bash")), (FailedStep::Exec, true));
    let missing = EnterSpec { root: path("/no/such"), ..uts() };
    let expected = "cannot open /no/such: No such file or directory";
    assert_eq!(refusal(&enter(&link, "root", missing, "true")).1, expected);
}

#[test]
fn parents_and_sockets_lead_to_namespaces() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let target = Target::new(&["-Un", "--fork", "--map-root-user"]);
    let pid = target.pid();
    let spec = EnterSpec { user_parent: true, ..of(pid, &[]) };
    // The parent is the one we are in, which nobody may enter again.
    let expected = "reassociate to namespace 'ns/user' failed: Invalid argument";
    assert_eq!(refusal(&enter(&link, "root", spec, "true")).1, expected);
    let spec = EnterSpec { net_socket: Some(200), ..of(pid, &[]) };
    let message = refusal(&enter(&link, "root", spec, "true")).1;
    assert!(message.starts_with("pidfd_getfd(") && message.contains("Bad file desc"), "{message}");
    let gone = of(u32::try_from(i32::MAX).unwrap(), &[Kind::Net]);
    let expected = "cannot open /proc/2147483647/ns/net: No such file or directory";
    assert_eq!(refusal(&enter(&link, "root", gone, "true")).1, expected);
}

#[test]
fn a_plan_is_told_and_not_run() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("touched");
    let mut wanted = request("nobody", article(), &["touch", file.to_str().unwrap()]);
    let connection = link.connection();
    let asked = Request::Explain(Box::new(wanted.clone()));
    let answer = within_deadline(|| session::ask(connection, asked)).unwrap();
    let Answer::Plan(plan) = answer else { panic!("no plan") };
    assert!(matches!(plan.steps.first(), Some(Step::BecomeUser(who)) if who.uid == 65534));
    assert!(matches!(plan.steps.last(), Some(Step::Exec)), "{plan:?}");
    assert_eq!(plan.program, format!("touch {}", file.display()));
    assert!(!Path::new(&file).exists());
    wanted.user = Some("ghost".parse().unwrap());
    let connection = link.connection();
    let asked = Request::Explain(Box::new(wanted));
    let answer = within_deadline(|| session::ask(connection, asked)).unwrap();
    let Answer::Refused(failure) = answer else { panic!("a plan for nobody") };
    assert_eq!(failure.message, "user \"ghost\" does not exist in the machine");
}

#[test]
fn a_name_as_long_as_a_request_does_not_end_the_agent() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let mut long = request("nobody", NamespaceSpec::default(), &["true"]);
    long.user.as_mut().unwrap().user = "x".repeat(1 << 20);
    let (step, message) = refusal(&link.output(long, b""));
    assert_eq!(step, FailedStep::User);
    assert!(message.len() < 10_000 && message.ends_with("does not exist in the machine"));
    assert_eq!(link.exec(&["echo", "alive"]).stdout, "alive\n");
}
