//! Any signal at any moment of a machine's life that needs no guest: what the
//! next command says, and that nothing is left. Its disk does not boot, so that
//! a start lasts. (With a guest: `tests/vm/matrix.rs`.)

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Home, Process};

const NAME: &str = "m1";

/// Nothing here takes longer on a busy host.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Command,
    Supervisor,
    Qemu,
}

/// What is left of the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// It goes on.
    Starting,
    /// The VM runs, and any command finds it.
    Running,
    /// It was undone.
    Stopped,
}

const SIGNALS: [Signal; 4] = [Signal::KILL, Signal::INT, Signal::TERM, Signal::HUP];

/// Each signal has its turn in the long runs, and those that differ always.
fn chosen(signal: Signal) -> bool {
    matches!(signal, Signal::KILL | Signal::TERM) || std::env::var_os("NSVM_TEST_ALL").is_some()
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // One that has just ended by itself is as good as killed.
    let _ = kill_process(pid, signal);
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const MAKE: [&str; 10] =
    ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "1", "--memory", "256", NAME];

fn spawn(home: &Home, args: &[&str]) -> Child {
    let mut command = home.spawnable(args.iter().copied());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn said(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn find(home: &Home, is_it: fn(&Process) -> bool) -> Option<u32> {
    home.processes().into_iter().find(is_it).map(|process| process.pid)
}

fn state(home: &Home) -> String {
    let ran = home.run(["machine", "inspect", "--format", "{{.State}}", NAME]).exits(0);
    ran.stdout().trim().to_owned()
}

/// The machine goes with everything of it.
fn remove(home: &Home) {
    home.run(["machine", "rm", "-f", NAME]).exits(0);
    nothing_is_left(home);
}

fn nothing_is_left(home: &Home) {
    eventually("no process is left", || home.processes().is_empty());
    assert_eq!(home.traces_of(NAME), Vec::<std::path::PathBuf>::new());
    let temporary = home.traces_of(".tmp-");
    assert!(temporary.is_empty(), "{temporary:?}");
    let run = home.path().join("state/run");
    let left: Vec<_> = fs::read_dir(run).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    home.run(["--machine", NAME, "exec", "true"])
        .exits(125)
        .complains(&["Error: m1: VM does not exist"]);
}

#[test]
fn an_init_that_is_killed_leaves_a_machine_or_none() {
    for signal in SIGNALS {
        for delay in [2, 10, 30, 80] {
            let home = Home::new();
            let init = spawn(&home, &MAKE);
            std::thread::sleep(Duration::from_millis(delay));
            send(init.id(), signal);
            said(init);
            let again = home.run(MAKE);
            let there = again.stderr().contains("\"m1\" already exists");
            assert!(there || again.code() == 0, "{signal:?}: {}", again.stderr());
            assert_eq!(state(&home), "stopped");
            remove(&home);
        }
    }
}

#[test]
fn a_start_under_which_something_is_killed_is_undone_or_goes_on() {
    for victim in [Victim::Command, Victim::Supervisor, Victim::Qemu] {
        for signal in SIGNALS.into_iter().filter(|signal| chosen(*signal)) {
            starting(victim, signal);
        }
    }
}

fn starting(victim: Victim, signal: Signal) {
    eprintln!("{victim:?} gets {signal:?}");
    let home = Home::new();
    home.run(MAKE).exits(0);
    let start = spawn(&home, &["machine", "start", "--timeout", "120", NAME]);
    eventually("QEMU runs", || find(&home, Process::is_qemu).is_some());
    eventually("its record", || home.path().join("state/run/m1/run.json").exists());
    let pid = match victim {
        Victim::Command => start.id(),
        Victim::Supervisor => find(&home, Process::is_supervisor).unwrap(),
        Victim::Qemu => find(&home, Process::is_qemu).unwrap(),
    };
    send(pid, signal);
    let (after, says) = expected(victim, signal);
    let (code, text) = said(start);
    if !says.is_empty() {
        assert_eq!(code, Some(125), "{text}");
        assert!(says.iter().any(|says| text.contains(says)), "{text}");
    }
    let word = match after {
        After::Starting => "starting",
        After::Running => "running",
        After::Stopped => "stopped",
    };
    eventually(word, || state(&home) == word);
    let begun = Instant::now();
    let next = home.run(["--machine", NAME, "exec", "true"]).exits(125);
    assert!(begun.elapsed() < PATIENCE / 2, "it took {:?}", begun.elapsed());
    match after {
        After::Stopped => drop(next.complains(&["machine \"m1\" is not running"])),
        After::Starting | After::Running => drop(next.complains(&["no link to the guest"])),
    }
    if after == After::Stopped {
        eventually("no process is left", || home.processes().is_empty());
        assert!(!home.path().join("state/run/m1").exists());
    } else {
        home.run(["machine", "stop", "--force", NAME]).exits(0);
    }
    remove(&home);
}

/// What is left then, and what the start says of it.
fn expected(victim: Victim, signal: Signal) -> (After, &'static [&'static str]) {
    match (victim, signal) {
        (Victim::Command, Signal::INT | Signal::TERM) => {
            (After::Stopped, &["the start was interrupted and has been undone"])
        }
        (Victim::Command, _) => (After::Starting, &[]),
        // The host shuts down: so does the guest.
        (Victim::Supervisor, Signal::TERM) => {
            (After::Stopped, &["the machine was stopped while it was starting"])
        }
        (Victim::Supervisor, _) => (After::Running, &["the supervisor of machine \"m1\" ended"]),
        // It depends on whether it had a monitor by then.
        (Victim::Qemu, _) => (After::Stopped, &["QEMU ended ", "QEMU closed its monitor"]),
    }
}

/// One that is there and answers nobody is ended by whoever needs it, and the
/// next finds the VM.
#[test]
fn a_supervisor_that_hangs_is_in_nobodys_way() {
    let home = Home::new();
    home.run(MAKE).exits(0);
    let start = spawn(&home, &["machine", "start", "--timeout", "300", NAME]);
    eventually("QEMU runs", || find(&home, Process::is_qemu).is_some());
    eventually("its record", || home.path().join("state/run/m1/run.json").exists());
    let supervisor = find(&home, Process::is_supervisor).unwrap();
    let qemu = find(&home, Process::is_qemu);
    send(supervisor, Signal::STOP);
    // The start's own command ends it, and so might the other one's.
    let next = home.run(["--machine", NAME, "exec", "true"]).exits(125);
    next.complains(&["no link to the guest"]);
    let (code, text) = said(start);
    assert_eq!(code, Some(125), "{text}");
    assert!(text.contains("supervisor of machine \"m1\""), "{text}");
    assert_ne!(find(&home, Process::is_supervisor), Some(supervisor));
    assert_eq!(find(&home, Process::is_qemu), qemu, "the VM runs on");
    send(find(&home, Process::is_supervisor).unwrap(), Signal::STOP);
    let stopped = home.run(["machine", "stop", "--force", NAME]).exits(0);
    stopped.complains(&["does not answer and is ended; the VM runs on"]);
    remove(&home);
}

#[test]
fn a_removal_under_which_something_is_killed_can_be_repeated() {
    for victim in [Victim::Command, Victim::Supervisor, Victim::Qemu] {
        for (signal, delay) in SIGNALS.into_iter().zip([1, 10, 30, 60]) {
            removing(victim, signal, Duration::from_millis(delay));
        }
    }
}

fn removing(victim: Victim, signal: Signal, delay: Duration) {
    eprintln!("{victim:?} gets {signal:?} after {delay:?}");
    let home = Home::new();
    home.run(MAKE).exits(0);
    let start = spawn(&home, &["machine", "start", "--timeout", "120", NAME]);
    eventually("QEMU runs", || find(&home, Process::is_qemu).is_some());
    let supervisor = find(&home, Process::is_supervisor).unwrap();
    let qemu = find(&home, Process::is_qemu).unwrap();
    let remove = spawn(&home, &["machine", "rm", "-f", NAME]);
    std::thread::sleep(delay);
    send(
        match victim {
            Victim::Command => remove.id(),
            Victim::Supervisor => supervisor,
            Victim::Qemu => qemu,
        },
        signal,
    );
    let (code, text) = said(remove);
    if victim != Victim::Command {
        assert_eq!(code, Some(0), "{text}");
    }
    let again = home.run(["machine", "rm", "-f", NAME]);
    let gone = again.stderr().contains("VM does not exist");
    assert!(again.code() == 0 || gone, "{}", again.stderr());
    said(start);
    nothing_is_left(&home);
}
