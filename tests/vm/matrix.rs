//! Whatever gets whichever signal at whatever moment: what the next command
//! says, what state is derived, and what is left. (Moments without a guest:
//! `tests/cli/killed.rs`.)

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Process, zombies_of};
use crate::crashes::supervisor;
use crate::link::{all, begin, end, eventually, wait_for_word};
use crate::machine::{Machine, NAME};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Command,
    Supervisor,
    Qemu,
    Agent,
    Sshd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Nothing is asked of the machine.
    Idle,
    /// Twenty commands run.
    Twenty,
    Stopping,
}

/// What of the twenty is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Each its own exit code.
    Own,
    /// 125, and on stderr.
    Lost(&'static str),
    /// Whatever its client makes of the signal.
    By(i32),
    /// The guest shuts down around them.
    Anyhow,
}

const EVERYTHING: [Victim; 5] =
    [Victim::Command, Victim::Supervisor, Victim::Qemu, Victim::Agent, Victim::Sshd];

/// One of each kind in every run; all of them when the long runs are wanted.
pub fn story(machine: &Machine) {
    let here = Files::of(machine);
    for signal in [Signal::KILL, Signal::INT, Signal::TERM, Signal::HUP] {
        for moment in [Moment::Idle, Moment::Twenty, Moment::Stopping] {
            for victim in EVERYTHING {
                let chosen = signal == Signal::KILL && moment == Moment::Twenty
                    || signal == Signal::TERM && (victim, moment) == (Victim::Agent, Moment::Idle)
                    || signal == Signal::KILL
                        && (victim, moment) == (Victim::Supervisor, Moment::Stopping);
                let exists = (victim, moment) != (Victim::Command, Moment::Idle);
                if exists && (chosen || all()) {
                    eprintln!("  {moment:?}: {victim:?} gets {signal:?}");
                    cell(machine, &here, victim, moment, signal);
                }
            }
        }
    }
}

fn cell(machine: &Machine, here: &Files, victim: Victim, moment: Moment, signal: Signal) {
    let stops = match (victim, signal) {
        _ if moment == Moment::Stopping => true,
        (Victim::Qemu, _) => true,
        // The host shuts down: so does the guest.
        (Victim::Supervisor, signal) => signal == Signal::TERM,
        _ => false,
    };
    match moment {
        Moment::Idle => send(machine, victim, signal, &[]),
        Moment::Twenty => twenty(machine, victim, signal),
        Moment::Stopping => stopping(machine, victim, signal),
    }
    if stops {
        eventually("it is stopped", || machine.inspect()["State"] == "stopped");
        eventually("no process is left", || machine.home.processes().is_empty());
        machine.run(["exec", "true"]).exits(125).complains(&["machine \"t1\" is not running"]);
        assert_eq!(here.run_left(), Vec::<PathBuf>::new());
        machine.stop();
        machine.start();
    }
    machine.run(["exec", "true"]).exits(0);
    assert_eq!(machine.inspect()["State"], "running");
    eventually("one supervisor and one QEMU", || {
        let processes = machine.home.processes();
        let count = |is_it: fn(&Process) -> bool| processes.iter().filter(|p| is_it(p)).count();
        processes.len() == 2 && count(Process::is_supervisor) == 1 && count(Process::is_qemu) == 1
    });
    assert_eq!(zombies_of(supervisor(machine)), Vec::<u32>::new());
    assert_eq!(here.more(), BTreeSet::new());
}

fn twenty(machine: &Machine, victim: Victim, signal: Signal) {
    let script = |code: usize| format!("echo begun >&2; read -r word; exit {code}");
    let mut running: Vec<_> =
        (0..20).map(|n| begin(machine, &["exec", "sh", "-c", &script(n + 30)])).collect();
    for (_, begun) in &mut running {
        wait_for_word(begun);
    }
    let clients: Vec<u32> = running.iter().map(|(client, _)| client.id()).collect();
    send(machine, victim, signal, &clients);
    let ends = match (victim, signal) {
        (Victim::Command, Signal::KILL) => Ends::By(-1),
        // It goes on to the program, a shell that has no handler for it.
        (Victim::Command, signal) => Ends::By(128 + signal.as_raw()),
        (Victim::Supervisor, Signal::TERM) => Ends::Anyhow,
        (Victim::Qemu, _) => Ends::Lost("was lost"),
        (Victim::Agent, _) => Ends::Lost("the agent in machine \"t1\" was restarted"),
        (Victim::Supervisor | Victim::Sshd, _) => Ends::Own,
    };
    for (n, (mut command, stderr)) in running.into_iter().enumerate() {
        // The end of its input is the end of a program that is still there, and would
        // race with a signal that is passed on.
        if !matches!(ends, Ends::By(_)) {
            drop(command.stdin.take());
        }
        ended(command, stderr, n + 30, ends);
    }
}

fn ended(command: Child, mut stderr: ChildStderr, code: usize, ends: Ends) {
    let mut told = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut told).unwrap();
    let (found, _) = end(command);
    match ends {
        Ends::Own => assert_eq!(found, i32::try_from(code).ok(), "{told}"),
        Ends::By(-1) => assert_eq!(found, None, "{told}"),
        Ends::Anyhow => assert!(found.is_some(), "{told}"),
        Ends::By(code) => assert_eq!(found, Some(code), "{told}"),
        Ends::Lost(why) => {
            assert_eq!(found, Some(125), "{told}");
            assert!(told.contains(why), "{told}");
        }
    }
}

/// The stop is under way, and is completed by itself or by the next one.
fn stopping(machine: &Machine, victim: Victim, signal: Signal) {
    let guests = matches!(victim, Victim::Agent | Victim::Sshd);
    if guests {
        in_guest_soon(machine, victim, signal);
    }
    let mut stop = machine.home.spawnable(["machine", "stop", NAME]);
    let stop = stop.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it is being stopped", || {
        machine.record_if_any().is_none_or(|record| record["Phase"] == "stopping")
    });
    if !guests {
        send(machine, victim, signal, &[stop.id()]);
    }
    let output = stop.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if victim != Victim::Command {
        assert_eq!(output.status.code(), Some(0), "{said}");
    }
    machine.stop();
}

fn send(machine: &Machine, victim: Victim, signal: Signal, clients: &[u32]) {
    match victim {
        Victim::Command => {
            for client in clients {
                hit(*client, signal);
            }
        }
        Victim::Supervisor => hit(supervisor(machine), signal),
        Victim::Qemu => {
            hit(u32::try_from(machine.record()["QemuPid"].as_u64().unwrap()).unwrap(), signal);
        }
        Victim::Agent | Victim::Sshd => in_guest(machine, victim, signal),
    }
}

fn hit(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The program in the guest that sends the signal.
fn script(victim: Victim, signal: Signal) -> String {
    let signal = signal.as_raw();
    match victim {
        Victim::Agent => {
            format!("kill -{signal} $(pgrep -xf '/usr/local/libexec/nsvm-agent serve')")
        }
        // Its listener and all its connections.
        _ => format!("pkill -{signal} sshd"),
    }
}

/// By a command of its own, which survives all but the agent's end.
fn in_guest(machine: &Machine, victim: Victim, signal: Signal) {
    let (rest, code) = if victim == Victim::Agent { ("; sleep 600", 125) } else { ("", 0) };
    let script = script(victim, signal) + rest;
    machine.run(["exec", "--user-name", "root", "sh", "-c", &script]).exits(code);
}

/// While the next command is at work.
fn in_guest_soon(machine: &Machine, victim: Victim, signal: Signal) {
    let kill = script(victim, signal);
    let script = format!("(sleep 1; {kill}) </dev/null >/dev/null 2>&1 & sleep 0");
    machine.run(["exec", "--user-name", "root", "setsid", "sh", "-c", &script]).exits(0);
}

/// Everything below the home when the machine runs and nothing else happens.
struct Files {
    machine_home: PathBuf,
    run: PathBuf,
    known: BTreeSet<PathBuf>,
}

impl Files {
    fn of(machine: &Machine) -> Self {
        let run = machine.control_socket().parent().unwrap().to_owned();
        let machine_home = machine.home.path().to_owned();
        let mut files = Self { machine_home, run, known: BTreeSet::new() };
        files.known = files.all();
        files
    }

    fn all(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        walk(&self.machine_home, &mut found);
        walk(&self.run, &mut found);
        found
    }

    /// What was not there before.
    fn more(&self) -> BTreeSet<PathBuf> {
        self.all().difference(&self.known).cloned().collect()
    }

    fn run_left(&self) -> Vec<PathBuf> {
        let mut found = BTreeSet::new();
        walk(&self.run, &mut found);
        found.into_iter().collect()
    }
}

fn walk(dir: &std::path::Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, found);
        }
        found.insert(path);
    }
}
