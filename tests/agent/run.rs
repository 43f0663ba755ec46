//! Programs on a root file system of their own.

use std::collections::BTreeSet;
use std::path::Path;

use nsvm::namespace::network::{Mode, has_reachable_server};
use nsvm::namespace::run::{RootFs, RunSpec};
use nsvm::protocol::message::FromHost;
use nsvm::protocol::outcome::Outcome;
use nsvm::protocol::request::{ExecRequest, Size, Terminal};

use crate::client::{Agent, Finished, Link, eventually};
use crate::needs_root;

/// The user of these tests, with ids below it in /etc/subuid.
const USER: &str = "nobody";
const SUBIDS: &str = "nobody:700000:65536\n";

/// The guest's own root, for a plain user.
pub fn request(spec: RunSpec, argv: &[&str]) -> ExecRequest {
    let mut request = ExecRequest::new(argv.iter().copied());
    request.user = Some(USER.parse().unwrap());
    request.run = Some(Box::new(spec));
    request
}

pub fn run(link: &Link, spec: RunSpec, script: &str) -> Finished {
    link.output(request(spec, &["sh", "-c", script]), b"")
}

/// Runs it, which must succeed.
#[track_caller]
pub fn says(link: &Link, spec: RunSpec, script: &str) -> String {
    let done = run(link, spec, script);
    assert_eq!(done.outcome, Outcome::Exited(0), "{done:?}");
    done.stdout
}

/// The mounts in sight of the agent, and what lies on the stage there: a run
/// has its own of both.
fn remains(agent: &Agent) -> BTreeSet<String> {
    let of = |name: &str| format!("/proc/{}/{name}", agent.pid());
    let mounts = std::fs::read_to_string(of("mountinfo")).unwrap();
    let stage = std::fs::read_dir(of("root/run/nsvm-stage")).into_iter().flatten().flatten();
    let staged = stage.map(|entry| entry.path().display().to_string());
    mounts.lines().map(str::to_owned).chain(staged).collect()
}

/// A kept run that goes with its test.
struct Named(String);

impl Named {
    fn new(what: &str) -> Self {
        Self(format!("nsvm-test-{what}-{}", std::process::id()))
    }

    fn spec(&self) -> RunSpec {
        RunSpec { name: Some(self.0.clone()), ..RunSpec::default() }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new("/var/lib/nsvm/named").join(&self.0));
    }
}

#[test]
fn the_program_is_process_1_and_root_in_all_eight_kinds() {
    needs_root!();
    let agent = Agent::start_with_subids(SUBIDS);
    let link = agent.attach();
    let kinds = "cgroup ipc mnt net pid time user uts";
    let script = format!(
        "echo $$; id -u; id -G; hostname; for n in {kinds}; do readlink /proc/self/ns/$n; done"
    );
    let text = says(&link, RunSpec::default(), &script);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..4], ["1", "0", "0", "nsvm"], "{text}");
    for (kind, inside) in kinds.split(' ').zip(&lines[4..]) {
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_ne!(own.to_str(), Some(*inside));
    }
    let map = says(&link, RunSpec::default(), "cat /proc/self/uid_map");
    let words: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(words, ["0", "65534", "1", "1", "700000", "65536"]);
}

#[test]
fn the_guests_processes_mounts_and_network_are_out_of_sight() {
    needs_root!();
    let agent = Agent::start_with_subids(SUBIDS);
    let link = agent.attach();
    let ps = says(&link, RunSpec::default(), "ps -e -o pid= -o comm=; :");
    assert_eq!(ps.lines().count(), 2, "{ps}");
    let mounts = says(&link, RunSpec::default(), "cut -d' ' -f2 /proc/mounts");
    for mount in mounts.lines() {
        let own = ["/proc", "/sys", "/dev", "/run", "/tmp"];
        assert!(mount == "/" || own.iter().any(|dir| mount.starts_with(dir)), "{mount}");
    }
    let interfaces = says(&link, RunSpec::default(), "cut -d: -f1 -s /proc/net/dev");
    assert_eq!(interfaces.split_whitespace().collect::<Vec<_>>(), ["Inter-|", "lo"][1..]);
    says(&link, RunSpec::default(), "ls /sys/class/net | grep -vx lo && exit 1; :");
    // The agent is in sight of nobody in there.
    let gone = run(&link, RunSpec::default(), &format!("kill -0 {}", agent.pid()));
    assert_ne!(gone.outcome, Outcome::Exited(0), "{gone:?}");
}

#[test]
fn a_way_out_comes_with_name_servers() {
    needs_root!();
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let texts: Vec<_> = files.into_iter().filter_map(|f| std::fs::read_to_string(f).ok()).collect();
    let Some(servers) = texts.iter().find(|text| has_reachable_server(text)) else {
        eprintln!("SKIPPED: this machine has no name servers; tests/vm has the same");
        return;
    };
    let agent = Agent::start_alone("");
    let link = agent.attach();
    let before = remains(&agent);
    let named = Named::new("nat");
    let nat = RunSpec { network: Mode::Nat, ..named.spec() };
    let text = says(&link, nat.clone(), "ls /sys/class/net; cat /etc/resolv.conf");
    assert_eq!(text, format!("eth0\nlo\n{servers}"));
    // A link that leads nowhere yet, and no such file.
    for other in ["ln -s ../../../run/a/b/servers /etc/resolv.conf", ":"] {
        says(&link, named.spec(), &format!("rm -f /etc/resolv.conf; {other}"));
        let script = "cat /etc/resolv.conf; stat -Lc %u /etc/resolv.conf; echo >/etc/resolv.conf";
        assert_eq!(says(&link, nat.clone(), script), format!("{servers}0\n"), "{other}");
        let fixed = RunSpec { read_only: true, ..nat.clone() };
        let script = "cat /etc/resolv.conf; ! echo >/etc/resolv.conf";
        assert_eq!(says(&link, fixed, script), *servers, "{other}");
    }
    eventually("nothing remains", || remains(&agent) == before);
}

#[test]
fn changes_are_forgotten_and_nothing_remains() {
    needs_root!();
    let agent = Agent::start_with_subids(SUBIDS);
    let link = agent.attach();
    let before = remains(&agent);
    let mark = "/etc/nsvm-test-mark";
    let script = format!(
        "echo x > {mark} && chown 33:33 {mark} && stat -c %u {mark} && rm -rf /usr/share/doc \
         && touch /root/y && mknod /dev/x p && ls /usr/share/doc 2>/dev/null; cat {mark}"
    );
    assert_eq!(says(&link, RunSpec::default(), &script), "33\nx\n");
    assert!(!Path::new(mark).exists() && Path::new("/usr/share").exists());
    assert_eq!(says(&link, RunSpec::default(), &format!("test -e {mark} || echo gone")), "gone\n");
    eventually("nothing remains", || remains(&agent) == before);
}

#[test]
fn a_named_run_keeps_its_changes_for_its_next() {
    needs_root!();
    let agent = Agent::start_with_subids(SUBIDS);
    let link = agent.attach();
    let named = Named::new("keeps");
    assert_eq!(says(&link, named.spec(), "hostname; echo 1 > /kept"), format!("{}\n", named.0));
    assert_eq!(says(&link, named.spec(), "cat /kept; stat -c %u:%a / /kept"), "1\n0:755\n0:644\n");
    let other = RunSpec { root: RootFs::Directory(b"/usr".to_vec().into()), ..named.spec() };
    let refused = run(&link, other, "true");
    let Outcome::NotStarted(failure) = refused.outcome else { panic!("{refused:?}") };
    assert!(failure.message.contains("was made from another root"), "{failure:?}");
    // One at a time: two overlays on one directory would spoil it.
    let mut first = link.talk(request(named.spec(), &["sh", "-c", "echo up; cat"]));
    first.stdout_until("up");
    let second = run(&link, named.spec(), "true");
    let Outcome::NotStarted(failure) = second.outcome else { panic!("{second:?}") };
    assert!(failure.message.contains("runs under this name"), "{failure:?}");
    first.send(&FromHost::StdinEof);
    assert_eq!(first.outcome(), Outcome::Exited(0));
    assert_eq!(says(&link, named.spec(), "cat /kept"), "1\n");
}

#[test]
fn names_lead_nowhere_else() {
    needs_root!();
    let agent = Agent::start();
    let spec = RunSpec { name: Some("../../etc".into()), ..RunSpec::default() };
    let done = run(&agent.attach(), spec, "true");
    let Outcome::NotStarted(failure) = done.outcome else { panic!("{done:?}") };
    assert!(failure.message.contains("invalid name"), "{failure:?}");
}

#[test]
fn links_in_a_root_lead_nowhere_else() {
    needs_root!();
    let agent = Agent::start();
    let link = agent.attach();
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    // Everything that will be mounted on is a link out of the root.
    for name in ["dev", "proc", "sys", "tmp", "run"] {
        let to = outside.path().join(name);
        std::fs::create_dir(&to).unwrap();
        std::os::unix::fs::symlink(&to, dir.path().join(name)).unwrap();
    }
    let root = dir.path().to_str().unwrap().as_bytes().to_vec();
    let spec = RunSpec { root: RootFs::Directory(root.into()), ..RunSpec::default() };
    let done = link.output(request(spec, &["/bin/sh"]), b"");
    assert!(matches!(done.outcome, Outcome::NotStarted(_)), "{done:?}");
    for name in ["dev", "proc", "sys", "tmp", "run"] {
        assert_eq!(std::fs::read_dir(outside.path().join(name)).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn little_is_allowed_unless_asked_for() {
    needs_root!();
    let agent = Agent::start_with_subids(SUBIDS);
    let link = agent.attach();
    let plain = RunSpec::default();
    for script in [
        "mount -t tmpfs x /mnt",
        "umount /proc/sys",
        "mknod /tmp/x b 254 0",
        "echo 1 > /proc/sys/kernel/hostname",
        "echo b > /proc/sysrq-trigger",
        "cat /proc/kcore | head -c 1 | grep .",
        "touch /sys/x",
    ] {
        let done = run(&link, plain.clone(), script);
        assert!(matches!(done.outcome, Outcome::Exited(1..)), "{script}: {done:?}");
    }
    let status = says(&link, plain, "grep -E 'CapEff|NoNew' /proc/self/status");
    assert_eq!(status, "CapEff:\t00000000800405fb\nNoNewPrivs:\t1\n");
    let privileged = RunSpec { privileged: true, ..RunSpec::default() };
    says(&link, privileged, "mount -t tmpfs x /mnt && hostname other && mount -t proc p /mnt");
    let fixed = RunSpec { read_only: true, ..RunSpec::default() };
    says(&link, fixed, "! touch /x 2>/dev/null && touch /tmp/x /run/x /dev/shm/x");
}

#[test]
fn a_terminal_is_the_console_inside() {
    needs_root!();
    let agent = Agent::start_with_subids(SUBIDS);
    let link = agent.attach();
    let mut asked = request(RunSpec::default(), &["sh", "-c", "tty; stty size; echo $TERM"]);
    let size = Size { rows: 31, cols: 97, ..Size::default() };
    asked.tty = Some(Terminal { term: b"vt100".to_vec().into(), size });
    let mut talk = link.talk(asked);
    let text = talk.stdout_until("vt100");
    assert_eq!(text.lines().take(2).collect::<Vec<_>>(), ["/dev/console", "31 97"], "{text}");
    assert_eq!(talk.outcome(), Outcome::Exited(0));
}

#[test]
fn the_end_of_the_client_ends_everything_inside() {
    needs_root!();
    let agent = Agent::start_with_subids(SUBIDS);
    let link = agent.attach();
    let before = remains(&agent);
    // Ours is told from that of another test run.
    let nap = 100_000 + std::process::id();
    let script = format!("sleep {nap} & echo up; wait");
    let mut talk = link.talk(request(RunSpec::default(), &["sh", "-c", &script]));
    talk.stdout_until("up");
    let runs = || processes(&format!("sleep\u{0}{nap}"));
    eventually("it runs", || !runs().is_empty());
    drop(talk);
    // The program has no handler, and as process 1 it would not notice.
    eventually("all have ended", || runs().is_empty() && remains(&agent) == before);
}

/// Processes with this in their command line.
fn processes(text: &str) -> Vec<u32> {
    let of = |entry: std::fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&line).contains(text).then_some(pid)
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(of).collect()
}
