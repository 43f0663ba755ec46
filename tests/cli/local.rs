//! `nsvm --local`: the same verbs on this kernel, without a machine.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{Home, Ran, copy_program, program};

/// A user that no file names, with no rights at all.
const STRANGER: u32 = 61_234;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `nsvm --local ARGS`, as this user.
fn local<'a>(args: impl IntoIterator<Item = &'a str>) -> Ran {
    Home::new().run(["--local"].into_iter().chain(args))
}

/// nsvm and its agent where everybody may run them: a checkout may be private.
struct Public(tempfile::TempDir);

impl Public {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        copy_program(&program(), &dir.path().join("nsvm"));
        let agent = Path::new(env!("CARGO_BIN_EXE_nsvm-agent"));
        copy_program(agent, &dir.path().join("nsvm-agent"));
        Self(dir)
    }

    /// A directory of the stranger's.
    fn state(&self) -> PathBuf {
        let dir = self.0.path().join("state");
        if !dir.exists() {
            std::fs::create_dir(&dir).unwrap();
            std::os::unix::fs::chown(&dir, Some(STRANGER), Some(STRANGER)).unwrap();
        }
        dir
    }

    fn nsvm(&self) -> PathBuf {
        self.0.path().join("nsvm")
    }

    /// `nsvm --local ARGS` as the stranger, in this directory.
    fn run(&self, args: &[&str]) -> Ran {
        let id = STRANGER.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(self.nsvm());
        command.arg("--local").args(args).current_dir(self.0.path()).env_remove("NSVM_AGENT");
        command.env("XDG_STATE_HOME", self.state());
        Ran(command.output().unwrap())
    }
}

/// Whether a stranger may make user namespaces here.
fn strangers_may(public: &Public) -> bool {
    let may = public.run(&["unshare", "--user", "true"]).code() == 0;
    if !may {
        eprintln!("SKIPPED: this kernel grants users no user namespaces");
    }
    may
}

#[test]
fn the_example_of_the_article() {
    let options = ["--user", "--pid", "--map-root-user", "--mount-proc", "--fork"];
    let ps = ["sh", "-c", "ps -e -o user= -o pid= -o comm=; :"];
    let ran = local([&["unshare"], &options[..], &ps[..]].concat());
    if !is_root() && ran.code() != 0 {
        eprintln!("SKIPPED: this kernel grants users no user namespaces");
        return;
    }
    let stdout = ran.exits(0).stdout();
    let lines: Vec<Vec<&str>> =
        stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [["root", "1", "sh"], ["root", "2", "ps"]]);
}

#[test]
fn nothing_is_left_and_no_machine_is_needed() {
    let home = Home::new();
    home.run(["--local", "exec", "true"]).exits(0);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    home.run(["--local", "--machine", "x", "exec", "true"]).exits(125).complains(&["--machine"]);
    home.run(["--local", "machine", "list"]).exits(125).complains(&["--local", "nsvm machine"]);
}

#[test]
fn ends_are_passed_on() {
    for (script, code) in [("exit 7", 7), ("kill -9 $$", 137), ("kill -40 $$", 168)] {
        local(["exec", "sh", "-c", script]).exits(code);
    }
    local(["exec", "no-such-program"]).exits(127).complains(&["Error: ", "no-such-program"]);
    local(["exec", "/etc/passwd"]).exits(126);
    local(["unshare", "--root=/nonexistent", "true"]).exits(1).complains(&["unshare: "]);
}

#[test]
fn the_callers_surroundings_stay() {
    let dir = tempfile::tempdir().unwrap();
    let script = "umask; pwd -P; echo \"$MARK\"; ulimit -n; cat ./here";
    std::fs::write(dir.path().join("here"), "found\n").unwrap();
    let outer = "umask 027; ulimit -n 77; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", outer]).arg(program()).args(["--local", "exec", "sh", "-c", script]);
    command.current_dir(dir.path()).env("MARK", "a  b").env("NSVM_HOME", dir.path());
    let ran = Ran(command.output().unwrap()).exits(0);
    let path = dir.path().canonicalize().unwrap();
    ran.prints(&format!("0027\n{}\na  b\n77\nfound\n", path.display()));
}

#[test]
fn options_add_to_the_environment_and_directories_are_below_this_one() {
    local(["exec", "--set-env", "A=b c", "sh", "-c", "echo $A"]).exits(0).prints("b c\n");
    local(["exec", "-w", "src/cli", "ls", "mod.rs"]).exits(0).prints("mod.rs\n");
}

#[test]
fn streams_are_the_callers() {
    let ran = local(["exec", "sh", "-c", "echo out; echo err >&2"]).exits(0);
    assert_eq!((ran.stdout().as_str(), ran.stderr().as_str()), ("out\n", "err\n"));
    let home = Home::new();
    let mut count = home.nsvm(["--local", "exec", "wc", "-c"]);
    Ran(count.write_stdin(vec![b'x'; 3_000_000]).output().unwrap()).exits(0).prints("3000000\n");
}

#[test]
fn a_signal_reaches_the_program() {
    let home = Home::new();
    let script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = home.spawnable(["--local", "exec", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("got\n", Some(9)));
}

#[test]
fn what_runs_ends_with_its_command() {
    let home = Home::new();
    let mut command = home.spawnable(["--local", "exec", "sh", "-c", "echo $$; exec sleep 1000"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = [0; 16];
    let count = child.stdout.as_mut().unwrap().read(&mut pid).unwrap();
    let pid = String::from_utf8_lossy(&pid[..count]).trim().to_owned();
    child.kill().unwrap();
    child.wait().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    // A zombie has no command line.
    while std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()) {
        assert!(std::time::Instant::now() < end, "{pid} still runs");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_terminal_is_one_inside_too() {
    // script(1) gives the command a terminal.
    let inner =
        format!("'{}' --local exec sh -c 'test -t 0 && tty; stty size'", program().display());
    let mut command = Command::new("script");
    command.args(["-qec", &inner, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("/dev/pts/"), "{text:?}");
    assert_eq!(text.lines().count(), 2, "{text:?}");
}

#[test]
fn the_other_verbs_are_about_this_kernel() {
    let own = std::fs::read_link("/proc/self/ns/uts").unwrap();
    let number = own.to_str().unwrap().trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
    let listed = local(["lsns", "-t", "uts", "-n", "-o", "NS"]).exits(0).stdout();
    assert!(listed.split_whitespace().any(|ns| ns == number), "{number} in {listed}");
    let kinds = local(["namespaces"]).exits(0).stdout();
    assert!(kinds.contains("CLONE_NEWUSER"), "{kinds}");
    let plan = local(["unshare", "--explain", "-Ur", "id"]).exits(0).stdout();
    assert!(plan.contains("stay in the present directory"), "{plan}");
    assert!(plan.contains("unshare(CLONE_NEWUSER)"), "{plan}");
    if is_root() {
        let pid = std::process::id().to_string();
        let entered = local(["nsenter", "-t", &pid, "-u", "readlink", "/proc/self/ns/uts"]);
        entered.exits(0).prints(&format!("{}\n", own.display()));
    }
}

#[test]
fn a_user_without_rights_has_none_here() {
    if !is_root() {
        eprintln!("SKIPPED: this test needs root");
        return;
    }
    let public = Public::new();
    public.run(&["exec", "id", "-u"]).exits(0).prints(&format!("{STRANGER}\n"));
    public
        .run(&["unshare", "--mount", "true"])
        .exits(1)
        .complains(&["unshare: unshare failed: Operation not permitted"]);
    public
        .run(&["unshare", "--user-name", "root", "-r", "id"])
        .exits(1)
        .complains(&["unshare: cannot become user root: Operation not permitted"]);
    if !strangers_may(&public) {
        return;
    }
    let script = "id -u; id -g; echo $$; cat /proc/self/uid_map";
    let own = ["unshare", "-Ur", "--pid", "--fork", "--mount-proc", "sh", "-c", script];
    let text = public.run(&own).exits(0).stdout();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "1", "0", &STRANGER.to_string(), "1"]);
}

#[test]
fn root_may_become_others_who_log_in() {
    if !is_root() {
        eprintln!("SKIPPED: this test needs root");
        return;
    }
    let home = Home::new();
    let mut command = home.nsvm(["--local", "exec", "--user-name", "nobody", "env"]);
    let ran = Ran(command.env("MARK", "x").output().unwrap()).exits(0);
    assert!(ran.stdout().contains("USER=nobody\n") && !ran.stdout().contains("MARK="));
    // Root stays what it is, with the groups it has.
    let mut command = Command::new("setpriv");
    command.args(["--groups", "0,4242"]).arg(program()).args(["--local", "exec", "id", "-G"]);
    Ran(command.env("NSVM_HOME", home.path()).output().unwrap()).exits(0).prints("0 4242\n");
}

#[test]
fn an_agent_that_is_none_is_named() {
    let home = Home::new();
    let mut command = home.nsvm(["--local", "exec", "true"]);
    let ran = Ran(command.env("NSVM_AGENT", "/bin/true").output().unwrap()).exits(125);
    ran.complains(&["Error: asking \"/bin/true\"", "ended without a greeting"]);
    let mut command = home.nsvm(["--local", "exec", "true"]);
    let ran = Ran(command.env("NSVM_AGENT", "/nonexistent").output().unwrap()).exits(125);
    ran.complains(&["Error: starting the agent \"/nonexistent\""]);
    let missing = tempfile::tempdir().unwrap();
    let alone = missing.path().join("nsvm");
    copy_program(&program(), &alone);
    let mut command = Command::new(&alone);
    command.args(["--local", "exec", "true"]).env_remove("NSVM_AGENT");
    Ran(command.output().unwrap()).exits(125).complains(&["agent", "is missing", "make build"]);
}

#[test]
fn a_closed_output_ends_the_program() {
    let home = Home::new();
    let mut command = home.spawnable(["--local", "exec", "yes"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 100]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(141));
}

#[test]
fn named_namespaces_outlive_the_agent_that_made_them() {
    if !is_root() {
        eprintln!("SKIPPED: this test needs root, to be somebody else");
        return;
    }
    let public = Public::new();
    if !strangers_may(&public) {
        return;
    }
    public.run(&["ns", "create", "web", "--hostname", "inner"]).exits(0).prints("web\n");
    public.run(&["ns", "exec", "web", "sh", "-c", "id -u; hostname"]).exits(0).prints("0\ninner\n");
    let inspected = public.run(&["ns", "inspect", "web"]).exits(0).stdout();
    let shown: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!((&shown[0]["State"], &shown[0]["Uid"]), (&"running".into(), &STRANGER.into()));
    assert_eq!(shown[0]["Namespaces"].as_object().unwrap().len(), 8);
    let list = public.run(&["ns", "list"]).exits(0).stdout();
    assert!(list.lines().nth(1).is_some_and(|line| line.starts_with("web   running")), "{list}");
    let plan = public.run(&["ns", "create", "--explain", "x", "-Ur", "--hostname", "y"]).exits(0);
    assert!(plan.stdout().contains("make y the host name"), "{}", plan.stdout());
    public.run(&["ns", "rm", "x", "web"]).exits(125).prints("web\n").complains(&["\"x\""]);
    public.run(&["ns", "list", "-q"]).exits(0).prints("");
}
