//! Commands in the guest: namespaces, exit codes, arguments, streams.

use crate::common::Ran;
use crate::machine::{Machine, NAME};

pub const ARTICLE: [&str; 6] =
    ["unshare", "--user", "--pid", "--map-root-user", "--mount-proc", "--fork"];

fn in_namespaces(machine: &Machine, command: &[&str]) -> Ran {
    machine.run([&ARTICLE[..], command].concat())
}

/// `ps -ef` shows bash as PID 1 and itself as PID 2, both of root.
pub fn article(machine: &Machine) {
    let ran = in_namespaces(machine, &["bash", "-c", "ps -ef; exit"]).exits(0);
    let stdout = ran.stdout();
    let lines: Vec<Vec<&str>> =
        stdout.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 2, "{stdout}");
    assert_eq!((lines[0][0], lines[0][1], lines[0][7]), ("root", "1", "bash"), "{stdout}");
    assert_eq!((lines[1][0], lines[1][1], lines[1][7]), ("root", "2", "ps"), "{stdout}");
    in_namespaces(machine, &["bash", "-c", "id -u; echo $$; exit 7"]).exits(7).prints("0\n1\n");
}

pub fn exit_codes(machine: &Machine) {
    machine.run(["exec", "sh", "-c", "kill -9 $$"]).exits(137);
    in_namespaces(machine, &["sh", "-c", "kill -TERM $$; exit 3"]).exits(3);
    machine.run(["exec", "/no/such/program"]).exits(127).complains(&["/no/such/program"]);
    machine.run(["exec", "/etc/passwd"]).exits(126);
    machine.run(["unshare", "--map-users", "nonsense", "true"]).exits(1).complains(&["unshare: "]);
    // The unprivileged user may not unshare a mount namespace on its own.
    machine
        .run(["unshare", "--mount", "true"])
        .exits(1)
        .complains(&["unshare: unshare failed: Operation not permitted"]);
    machine.run(["unshare", "--root", "/nonexistent", "--user", "-r", "true"]).exits(1);
}

pub fn arguments_and_streams(machine: &Machine) {
    machine
        .run(["exec", "printf", "%s|", "a b", "c'd", "", "$HOME", "*", "\\n"])
        .exits(0)
        .prints("a b|c'd||$HOME|*|\\n|");
    let apart = machine.run(["exec", "sh", "-c", "echo out; echo err >&2"]).exits(0);
    assert_eq!((apart.stdout().as_str(), apart.stderr().as_str()), ("out\n", "err\n"));
    // stdin ends while the program goes on: `cat` must see that end.
    let mut half = machine.home.nsvm(["--machine", NAME, "exec", "sh", "-c", "cat; echo end"]);
    Ran(half.write_stdin("line\n").output().unwrap()).exits(0).prints("line\nend\n");
    let mut env =
        machine.home.nsvm(["--machine", NAME, "exec", "--set-env", "X=a b", "sh", "-c", "echo $X"]);
    Ran(env.output().unwrap()).exits(0).prints("a b\n");
    let file = machine.home.path().join("the variables");
    std::fs::write(&file, "# a note\nA=b  c\nOF_THE_HOST\nHOME=/x\n").unwrap();
    let options = ["exec", "--env-file", file.to_str().unwrap(), "--set-env", "HOME", "-w", "/etc"];
    let script = ["sh", "-c", "echo \"$A|$OF_THE_HOST|$HOME|$PWD\""];
    let mut env = machine.home.nsvm([&["--machine", NAME][..], &options, &script].concat());
    let ran = Ran(env.env("OF_THE_HOST", "yes").env("HOME", "/y").output().unwrap());
    ran.exits(0).prints("b  c|yes|/y|/etc\n");
    machine.run(["exec", "-T", "tty"]).exits(1).prints("not a tty\n");
    machine.run(["exec", "-t", "tty"]).exits(125).complains(&["cannot use a terminal"]);
}

pub fn many_bytes(machine: &Machine) {
    // Not compressible, not repeating, the same in each run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes: Vec<u8> = (0..64 << 20)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        })
        .collect();
    let mut cat = machine.home.nsvm([&["--machine", NAME][..], &ARTICLE, &["cat"]].concat());
    let ran = Ran(cat.write_stdin(bytes.clone()).output().unwrap()).exits(0);
    assert!(ran.0.stdout == bytes, "{} bytes came back and differ", ran.0.stdout.len());
}

pub fn all_kinds(machine: &Machine) {
    let kinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];
    let list = kinds.map(|kind| format!("/proc/self/ns/{kind}"));
    let readlink: Vec<&str> =
        ["readlink"].into_iter().chain(list.iter().map(String::as_str)).collect();
    let outside = machine.says(readlink.clone());
    let unshare = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--net",
        "--ipc",
        "--uts",
        "--cgroup",
        "--time",
        "--fork",
        "--mount-proc",
        "--kill-child",
    ];
    let inside = machine.run([&unshare[..], &readlink].concat()).exits(0).stdout();
    let pairs = outside.lines().zip(inside.lines());
    assert_eq!(pairs.clone().count(), kinds.len(), "{inside}");
    for ((outside, inside), kind) in pairs.zip(kinds) {
        assert_ne!(outside, inside, "{kind} is not a new one");
    }
}

pub fn plans_and_kinds(machine: &Machine) {
    let explained = machine.run([&ARTICLE[..], &["--explain", "touch", "/tmp/ran"]].concat());
    let text = explained.exits(0).stdout();
    let steps =
        ["become user 1000", "CLONE_NEWPID", "fork", "map users: 0:1000:1", "mount a new proc"];
    let places: Vec<_> = steps.iter().map(|step| text.find(step).expect(step)).collect();
    assert!(places.is_sorted(), "{text}");
    assert!(text.ends_with("execute touch /tmp/ran\n"), "{text}");
    machine.run(["exec", "test", "-e", "/tmp/ran"]).exits(1);
    machine
        .run(["unshare", "--explain", "--map-users", "subids", "--user-name", "root"])
        .exits(1)
        .complains(&["unshare: no line matching user \"root\" in /etc/subuid"]);
    let kinds = machine.run(["namespaces", "--format", "json"]).exits(0).stdout();
    let kinds: serde_json::Value = serde_json::from_str(&kinds).unwrap();
    let kinds = kinds.as_array().unwrap();
    assert_eq!(kinds.len(), 8);
    assert!(kinds.iter().all(|k| k["Supported"] == true && k["Limit"].as_u64() > Some(0)));
    let table = machine.run(["namespaces"]).exits(0).stdout();
    assert!(table.contains("CLONE_NEWNS") && table.contains("mount_namespaces(7)"), "{table}");
}

/// Ctrl-C in a script (no terminal) reaches the program in the guest.
pub fn signals(machine: &Machine) {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done";
    let mut running = machine
        .home
        .spawnable(["--machine", NAME, "exec", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "caught");
    assert_eq!(running.wait().unwrap().code(), Some(5));
}

/// podman's rules: joined by spaces for a shell, exact after `--`.
pub fn ssh(machine: &Machine) {
    let ssh = |args: &[&str]| machine.home.run([&["machine", "ssh", NAME][..], args].concat());
    let silent = ssh(&["false"]).exits(1);
    assert!(silent.0.stdout.is_empty() && silent.0.stderr.is_empty());
    ssh(&["--", "printf", "%s|", "a b", "c'd", ""]).exits(0).prints("a b|c'd||");
    let one = ssh(&["ls /etc | wc -l"]).exits(0).stdout();
    let many = ssh(&["ls", "/etc", "|", "wc", "-l"]).exits(0).stdout();
    assert_eq!(one, many);
    assert!(one.trim().parse::<u32>().unwrap() > 10, "{one}");
    ssh(&["whoami"]).exits(0).prints("core\n");
    machine
        .home
        .run(["machine", "ssh", "--username", "root", NAME, "whoami"])
        .exits(0)
        .prints("root\n");
}
