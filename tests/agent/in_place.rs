//! `nsvm-agent unshare`, `nsenter` and `lsns` by hand, beside this host's own
//! util-linux: as root and as somebody without any right.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nsvm::namespace::kind::Kind;

use crate::client::{copy_program, program};
use crate::host::{Apart, lsns};
use crate::needs_root;

/// A user that no file names.
const STRANGER: &str = "61235";

/// The agent where everybody may run it: a checkout may be private.
pub struct Public {
    dir: tempfile::TempDir,
    /// A program that runs it, where it is for another architecture.
    under: Option<&'static str>,
}

impl Public {
    fn new() -> Self {
        Self::with(&program(), None)
    }

    pub fn with(agent: &Path, under: Option<&'static str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        copy_program(agent, &dir.path().join("nsvm-agent"));
        Self { dir, under }
    }

    fn agent(&self) -> Vec<String> {
        let agent = self.dir.path().join("nsvm-agent").to_str().unwrap().to_owned();
        self.under.map(str::to_owned).into_iter().chain([agent]).collect()
    }

    /// What the agent itself does with a command line.
    pub fn run(&self, user: &str, line: &str) -> Seen {
        let all: Vec<String> = self.agent().into_iter().chain(words(line)).collect();
        Seen::from(as_user(user, &all).output().unwrap())
    }
}

/// A command line as this user.
fn as_user(user: &str, words: &[String]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups"]).args(words);
    command.current_dir("/tmp").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// What both must agree in.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub code: Option<i32>,
    pub stdout: String,
    pub complaint: String,
}

impl From<Output> for Seen {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let stderr = text(output.stderr);
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            complaint: stderr.lines().next().unwrap_or_default().to_owned(),
        }
    }
}

const PROBE: &str = "id; pwd; echo $MARK; cd /proc/self; cat uid_map gid_map setgroups; \
    grep -E '^Cap(Eff|Amb)' status; [ $$ = 1 ] && echo first; cat timens_offsets; \
    grep -c ' shared:' mountinfo; :";

/// The same line through both programs, with the probe behind it.
pub fn compare(public: &Public, user: &str, verb: &str, line: &str) -> Option<String> {
    let probe = ["sh", "-c", PROBE].map(str::to_owned);
    let seen = |first: Vec<String>| {
        let all: Vec<String> = first
            .into_iter()
            .chain([verb.to_owned()])
            .chain(words(line))
            .chain(probe.clone())
            .collect();
        Seen::from(as_user(user, &all).env("MARK", "kept").output().unwrap())
    };
    let (ours, theirs) = (seen(public.agent()), seen(Vec::new()));
    (ours != theirs).then(|| format!("{user}: {verb} {line}\n ours {ours:?}\ntheirs {theirs:?}"))
}

#[test]
fn options_mean_what_they_mean_to_util_linux() {
    needs_root!();
    let public = Public::new();
    let lines = [
        "--user",
        "-r",
        "-c",
        "-rn",
        "-rpf --mount-proc",
        "--fork --pid",
        "--map-user=5",
        "-r --setgroups deny",
        "--setgroups x",
        "-T --boottime 100000 --fork",
        "-rT --monotonic=-5 --fork",
        "--kill-child=NONE",
        "-rm --propagation slave",
        "--propagation x",
        "--wd /usr",
        "--root /nowhere",
        "-r --setgid 0 --setuid 0",
        "-r --keep-caps",
        "--setuid x",
        "--bogus",
        "--root",
        "--fork=x",
    ];
    let different: Vec<String> = [STRANGER, "0"]
        .into_iter()
        .flat_map(|user| lines.map(|line| (user, line)))
        .filter_map(|(user, line)| compare(&public, user, "unshare", line))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

pub fn theirs_lists(user: &str, line: &str) -> Seen {
    Seen::from(lsns(as_user(user, &words(line))))
}

#[test]
fn namespaces_are_entered_and_listed_as_by_util_linux() {
    needs_root!();
    let (public, apart) = (Public::new(), Apart::start());
    let pid = apart.id();
    let mut different = Vec::new();
    // Since 2.40 processes are held by pidfd, which words a stranger's refusal
    // in another way.
    let both = ["-n/proc/@/ns/net", "-t x -n"].map(|line| (STRANGER, line));
    let root = ["-t @ -n", "-t @ -u -i -n", "-t @ -n -w", both[0].1, both[1].1];
    for (user, line) in root.map(|line| ("0", line)).into_iter().chain(both) {
        let line = line.replace('@', &pid.to_string());
        different.extend(compare(&public, user, "nsenter", &line));
    }
    let link = |kind| std::fs::read_link(apart.link(kind)).unwrap();
    let all = public.agent().into_iter().chain(words(&format!("nsenter -t {pid} -n -u readlink")));
    let all: Vec<String> = all.chain(words("/proc/self/ns/net /proc/self/ns/uts")).collect();
    let inside = Seen::from(as_user("0", &all).output().unwrap());
    let expected = format!("{}\n{}\n", link(Kind::Net).display(), link(Kind::Uts).display());
    assert_eq!(inside.stdout, expected, "{inside:?}");
    for line in [
        "-l -p @ -o NS,TYPE,PATH,PID,PPID,UID,USER,COMMAND",
        "-p @ -t net -r",
        "-p @ -t x",
        "-J -r",
    ] {
        let line = format!("lsns {}", line.replace('@', &pid.to_string()));
        let (ours, theirs) = (public.run("0", &line), theirs_lists("0", &line));
        if ours != theirs {
            different.push(format!("{line}\n ours {ours:?}\ntheirs {theirs:?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn a_user_with_nothing_else_is_in_its_own_list() {
    /// Not the stranger, who runs other tests at the same time.
    const LONER: &str = "61236";
    needs_root!();
    let public = Public::new();
    let options = "lsns -l -o TYPE,NPROCS,USER,COMMAND -t uts";
    let ours = public.run(LONER, options);
    assert_eq!(ours, theirs_lists(LONER, options));
    assert_eq!(ours.stdout.lines().count(), 2, "{ours:?}");
}

#[test]
fn the_program_takes_the_callers_place() {
    needs_root!();
    let public = Public::new();
    let start = |line: &str| {
        let all: Vec<String> = public.agent().into_iter().chain(words(line)).collect();
        // setpriv execs, so the number stays the same throughout.
        let mut command = as_user("0", &all);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut child = start("unshare --net sh");
    let pid = child.id();
    child.stdin.take().unwrap().write_all(b"echo $$; exit 7\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{pid}\n"));
    assert_eq!(output.status.code(), Some(7));
    // A fork's parent ends as its child did.
    let mut child = start("unshare --fork sh");
    child.stdin.take().unwrap().write_all(b"kill -9 $$\n").unwrap();
    let status = child.wait_with_output().unwrap().status;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

#[test]
fn failures_and_plans_read_as_on_the_host() {
    needs_root!();
    let public = Public::new();
    let ran = |user: &str, line: &str| public.run(user, line);
    let missing = ran("0", "unshare --uts /no/such/program");
    assert_eq!(missing.code, Some(127));
    let text = "unshare: failed to execute /no/such/program: No such file or directory";
    assert_eq!(missing.complaint, text);
    let bind = ran("0", "unshare --net=/no/such/file --fork true");
    assert_eq!(bind.code, Some(1));
    assert!(bind.complaint.starts_with("unshare: mount /proc/"), "{bind:?}");
    let plan = ran(STRANGER, "unshare -r --fork --explain true");
    assert_eq!(plan.code, Some(0), "{plan:?}");
    assert!(plan.stdout.contains("fork") && plan.stdout.contains("true"), "{plan:?}");
    let help = ran(STRANGER, "nsenter --help");
    assert!(help.code == Some(0) && help.stdout.contains("--join-cgroup"), "{help:?}");
}
