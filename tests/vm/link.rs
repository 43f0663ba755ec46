//! The line between host and guest, and what runs at its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::commands::ARTICLE;
use crate::common::processes_with;
use crate::crashes::{kill_9, supervisor};
use crate::machine::{Machine, NAME};

/// Commands that run when the supervisor dies, or the link under it, end as if
/// nothing had been: the last words and the exit code are theirs.
pub fn commands_outlive(machine: &Machine) {
    outlive(machine, &|| kill_9(supervisor(machine)));
    by_ssh(machine, || {
        // It cuts its own link, too.
        let kill = ["exec", "--user-name", "root", "pkill", "-KILL", "-x", "sshd-session"];
        outlive(machine, &|| drop(machine.run(kill).exits(0)));
        outlive(machine, &|| kill_9(supervisor(machine)));
    });
}

fn outlive(machine: &Machine, kill: &dyn Fn()) {
    let script = "echo begun >&2; sleep 3; echo done; exit 9";
    let unshare = [&ARTICLE[..], &["sh", "-c", script]].concat();
    let (command, mut begun) = begin(machine, &unshare);
    let (mut cat, mut catting) = begin(machine, &["exec", "sh", "-c", "echo begun >&2; cat"]);
    wait_for_word(&mut begun);
    wait_for_word(&mut catting);
    kill();
    let mut input = cat.stdin.take().unwrap();
    input.write_all(b"sent while nobody was there").unwrap();
    drop(input);
    assert_eq!(end(command), (Some(9), "done\n".to_owned()));
    assert_eq!(end(cat), (Some(0), "sent while nobody was there".to_owned()));
}

/// Without the socket of the guest's port the link goes by SSH.
pub fn by_ssh(machine: &Machine, story: impl FnOnce()) {
    let socket = machine.control_socket().with_file_name("link.sock");
    let aside = socket.with_extension("aside");
    let goes_by = |way: &str| {
        let log = machine.home.run(["machine", "logs", "--supervisor", NAME]).stdout();
        let last = log.lines().rfind(|line| line.contains("the link is up")).unwrap_or_default();
        assert!(last.contains(way), "{last}");
    };
    machine.says(["true"]);
    goes_by("way=Port");
    std::fs::rename(&socket, &aside).unwrap();
    kill_9(supervisor(machine));
    machine.says(["true"]);
    goes_by("way=Ssh");
    story();
    std::fs::rename(&aside, &socket).unwrap();
    kill_9(supervisor(machine));
    machine.says(["true"]);
    goes_by("way=Port");
}

pub fn begin(machine: &Machine, command: &[&str]) -> (Child, ChildStderr) {
    let words = ["--machine", NAME].iter().chain(command).copied();
    let mut command = machine.home.spawnable(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    (child, stderr)
}

pub fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

pub fn wait_for_word(stderr: &mut ChildStderr) {
    let mut word = [0; 6];
    stderr.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"begun\n");
}

/// Whether the long runs are wanted.
pub fn all() -> bool {
    std::env::var_os("NSVM_TEST_ALL").is_some()
}

/// Descriptors and memory of its own (KiB) of the supervisor, then of the agent. Pages
/// of the program come and go with what the page cache has.
fn footprint(machine: &Machine) -> [(usize, u64); 2] {
    let status = |text: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let proc = format!("/proc/{}", supervisor(machine));
    let here = (
        std::fs::read_dir(format!("{proc}/fd")).unwrap().count(),
        status(&std::fs::read_to_string(format!("{proc}/status")).unwrap()),
    );
    let script = "pid=$(pgrep -xf '/usr/local/libexec/nsvm-agent serve'); ls /proc/$pid/fd | wc -l; \
                  cat /proc/$pid/status";
    let told = machine.says(["--user-name", "root", "sh", "-c", script]);
    let (fds, rest) = told.split_once('\n').unwrap();
    [here, (fds.trim().parse().unwrap(), status(rest))]
}

/// The same once the supervisor has given back what a burst of commands took, which
/// it does when it reads the guest's clock: every 10 s.
fn footprint_at_rest(machine: &Machine) -> [(usize, u64); 2] {
    if all() {
        std::thread::sleep(Duration::from_secs(13));
    }
    footprint(machine)
}

/// One after the other and at once: nothing fails, nothing grows.
pub fn many_commands(machine: &Machine) {
    let (rounds, width) = if all() { (1000, 200) } else { (40, 30) };
    let at_once = || {
        let begun: Vec<_> = (0..width)
            .map(|n| {
                let script = format!("echo {n}; exit {}", n % 250);
                let words = ["--machine", NAME, "exec", "sh", "-c", &script];
                let mut command = machine.home.spawnable(words);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for (n, child) in begun.into_iter().enumerate() {
            let output = child.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.stdout, format!("{n}\n").as_bytes(), "{told}");
            assert_eq!(output.status.code(), Some(i32::try_from(n % 250).unwrap()), "{told}");
        }
    };
    // The first time fills what is kept from then on.
    at_once();
    let before = footprint_at_rest(machine);
    for _ in 0..rounds {
        machine.run(["exec", "true"]).exits(0);
    }
    at_once();
    let after = footprint_at_rest(machine);
    eprintln!("descriptors and KiB of supervisor and agent: {before:?}, then {after:?}");
    for ((fds, memory), (fds_then, memory_then)) in before.into_iter().zip(after) {
        assert!(fds_then <= fds + 2, "{before:?}, then {after:?}");
        assert!(memory_then < memory + 4096, "{before:?}, then {after:?}");
    }
}

/// QEMU's monitor, spoken to by hand: it takes one client at a time, so the
/// supervisor must be gone.
fn monitor(machine: &Machine, commands: &[&str], pause: Duration) {
    let socket = machine.control_socket().with_file_name("qmp.sock");
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    replies.read_line(&mut line).unwrap();
    for command in [&["qmp_capabilities"], commands].concat() {
        writeln!(&stream, "{{\"execute\": \"{command}\"}}").unwrap();
        line.clear();
        while !line.contains("\"return\"") {
            line.clear();
            assert!(replies.read_line(&mut line).unwrap() > 0, "{command}");
        }
        std::thread::sleep(pause);
    }
}

/// How far the guest's clock is behind this host's; a command takes part of it.
fn behind(machine: &Machine) -> f64 {
    let guest: f64 = machine.says(["date", "+%s.%N"]).parse().unwrap();
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    here - guest
}

/// A VM that stands still, as all of the host does when it sleeps: the clock is
/// put right as soon as there is a supervisor again.
pub fn clock(machine: &Machine) {
    let pause = Duration::from_secs(if all() { 60 } else { 6 });
    let log = || machine.home.run(["machine", "logs", "--supervisor", NAME]).stdout();
    let steps = || log().matches("stepped the guest's clock").count();
    let before = steps();
    kill_9(supervisor(machine));
    monitor(machine, &["stop", "cont"], pause);
    machine.run(["exec", "true"]).exits(0);
    eventually("the clock is stepped", || steps() > before);
    let late = behind(machine);
    assert!(late < pause.as_secs_f64() / 2.0, "{late} s behind");
    let drift = || machine.inspect()["Agent"]["ClockDriftMs"].as_i64();
    eventually("inspect shows it", || drift().is_some_and(|ms| ms.abs() < 1000));
}

pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + crate::common::PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A command that was lost with its guest says so, and the machine goes on.
pub fn rebooted(machine: &Machine) {
    let (command, mut begun) = begin(machine, &["exec", "sh", "-c", "echo begun >&2; sleep 1000"]);
    wait_for_word(&mut begun);
    // Whether it lives to tell is a matter of chance.
    let reboot = ["--machine", NAME, "exec", "--user-name", "root", "reboot", "--force", "--force"];
    let mut reboot = machine.home.spawnable(reboot).stderr(Stdio::null()).spawn().unwrap();
    let mut told = String::new();
    begun.read_to_string(&mut told).unwrap();
    assert_eq!(end(command).0, Some(125), "{told}");
    assert!(told.contains("machine \"t1\" was rebooted"), "{told}");
    let _ = reboot.wait();
    eventually("it is back", || machine.run(["exec", "true"]).code() == 0);
}

/// A record that names some other process: nobody is signalled, and the machine
/// is stopped.
pub fn pid_of_another(machine: &Machine) {
    let path = machine.control_socket().with_file_name("run.json");
    let mut record = machine.record();
    machine.stop();
    let mut bystander = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    record["QemuPid"] = bystander.id().into();
    record["SupervisorPid"] = bystander.id().into();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, record.to_string()).unwrap();
    assert_eq!(machine.inspect()["State"], "stopped");
    machine.stop();
    machine.home.run(["machine", "stop", "--force", NAME]).exits(0);
    machine.run(["exec", "true"]).exits(125).complains(&["is not running"]);
    machine.home.run(["machine", "rm", "-f", NAME]).exits(0);
    assert!(bystander.try_wait().unwrap().is_none(), "it was signalled");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

/// What is killed while commands run, and what is left of it.
pub fn killed(machine: &Machine) {
    supervisor_under_twenty(machine);
    client(machine);
    agent(machine);
    agent_stopped(machine);
    qemu(machine);
}

fn supervisor_under_twenty(machine: &Machine) {
    let script = |code: usize| format!("echo begun >&2; sleep 4; exit {code}");
    let mut running: Vec<_> =
        (0..20).map(|code| begin(machine, &["exec", "sh", "-c", &script(code)])).collect();
    for (_, begun) in &mut running {
        wait_for_word(begun);
    }
    kill_9(supervisor(machine));
    for (code, (command, _)) in running.into_iter().enumerate() {
        assert_eq!(end(command).0, Some(i32::try_from(code).unwrap()));
    }
    assert_eq!(supervisors(machine).len(), 1, "one for all of them");
}

fn supervisors(machine: &Machine) -> Vec<u32> {
    let home = machine.home.path().to_string_lossy().into_owned();
    let ours = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(&home)
    };
    processes_with(&format!("supervise\0{NAME}")).into_iter().filter(ours).collect()
}

/// Its program is hung up on.
fn client(machine: &Machine) {
    let script = "echo begun >&2; exec sleep 4711.5";
    let (mut command, mut begun) = begin(machine, &["exec", "sh", "-c", script]);
    wait_for_word(&mut begun);
    command.kill().unwrap();
    command.wait().unwrap();
    let sleeping = || machine.run(["exec", "pgrep", "-xf", "sleep 4711.5"]).code();
    eventually("its program has ended", || sleeping() == 1);
}

fn agent(machine: &Machine) {
    let script = "echo begun >&2; exec sleep 4712.5";
    let (command, mut begun) = begin(machine, &["exec", "sh", "-c", script]);
    wait_for_word(&mut begun);
    let kill = "kill -9 $(pgrep -xf '/usr/local/libexec/nsvm-agent serve'); sleep 60";
    let killer = machine.run(["exec", "--user-name", "root", "sh", "-c", kill]).exits(125);
    killer.complains(&["the agent in machine \"t1\" was restarted"]);
    assert_eq!(end(command).0, Some(125));
    machine.run(["exec", "true"]).exits(0);
    // What it ran is not ended with it.
    machine.run(["exec", "pkill", "-xf", "sleep 4712.5"]).exits(0);
}

/// QEMU tells that nobody has the port open any more; SSH brings the agent back.
fn agent_stopped(machine: &Machine) {
    // As a unit of systemd's, which the agent's end does not end; the unit of the agent
    // takes over from who started it before systemd.
    let script = "systemctl restart nsvm-agent; systemctl stop nsvm-agent";
    let stop = ["exec", "--user-name", "root", "systemd-run", "sh", "-c", script];
    machine.run(stop).exits(0);
    let log = || machine.home.run(["machine", "logs", "--supervisor", NAME]).stdout();
    eventually("it is noticed", || log().contains("the guest's agent is gone"));
    // A command waits less long for a link than a busy host may take.
    eventually("it is back", || machine.run(["exec", "true"]).code() == 0);
}

/// The machine is stopped then, and nothing of the run is left.
fn qemu(machine: &Machine) {
    let (command, mut begun) = begin(machine, &["exec", "sh", "-c", "echo begun >&2; sleep 1000"]);
    wait_for_word(&mut begun);
    let runtime = machine.control_socket();
    let runtime = runtime.parent().unwrap();
    kill_9(u32::try_from(machine.record()["QemuPid"].as_u64().unwrap()).unwrap());
    let mut told = String::new();
    begun.read_to_string(&mut told).unwrap();
    assert_eq!(end(command).0, Some(125), "{told}");
    assert!(told.contains("the connection to the machine was lost"), "{told}");
    eventually("it is stopped", || machine.inspect()["State"] == "stopped");
    machine.run(["exec", "true"]).exits(125).complains(&["machine \"t1\" is not running"]);
    let uuid = machine.config()["Uuid"].as_str().unwrap().to_owned();
    eventually("no process is left", || {
        processes_with(&uuid).is_empty() && supervisors(machine).is_empty()
    });
    let left: Vec<_> =
        std::fs::read_dir(runtime).into_iter().flatten().flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    machine.start();
}
