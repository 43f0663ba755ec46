//! A newer nsvm meets what an older one left running.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::program;
use crate::crashes::supervisor;
use crate::link::{begin, end, eventually, wait_for_word};
use crate::machine::{Machine, NAME};

/// As an upgrade leaves it: a newer file of the program, and another agent. The
/// supervisor hands over while a command runs, which notices nothing; the agent
/// is replaced when that has ended.
pub fn in_place(machine: &Machine) {
    let boot = machine.says(["cat", "/proc/sys/kernel/random/boot_id"]);
    let (first, agent) = (supervisor(machine), agent(machine));
    let newer = Newer::new(machine);
    let script = "echo begun >&2; read -r word; echo $word; exit 9";
    let (mut command, mut begun) = begin(machine, &["unshare", "-r", "sh", "-c", script]);
    wait_for_word(&mut begun);

    newer.runs(machine);
    let second = supervisor(machine);
    assert_ne!(second, first);
    assert_eq!(fs::read_link(format!("/proc/{second}/exe")).unwrap(), newer.program);
    eventually("the older supervisor is gone", || {
        machine.home.processes().iter().filter(|process| process.is_supervisor()).count() == 1
    });
    // A command of the older one leaves the newer one alone, and so does the same.
    machine.run(["exec", "true"]).exits(0);
    newer.runs(machine);
    assert_eq!(supervisor(machine), second);
    assert_eq!(self::agent(machine), agent, "it is in use");

    command.stdin.take().unwrap().write_all(b"done\n").unwrap();
    assert_eq!(end(command), (Some(9), "done\n".to_owned()));
    eventually("the agent is replaced", || self::agent(machine) == newer.sha256);
    assert_eq!(machine.says(["cat", "/proc/sys/kernel/random/boot_id"]), boot);
    assert_eq!(supervisor(machine), second);
    // Without SSH, which takes a translated guest several seconds.
    let log = machine.home.run(["machine", "logs", "--supervisor", NAME]).exits(0).stdout();
    assert_eq!(log.matches("another agent was installed by the port").count(), 1, "{log}");
}

/// The digest of the guest's agent.
fn agent(machine: &Machine) -> String {
    machine.record()["Agent"]["SHA256"].as_str().unwrap().to_owned()
}

struct Newer {
    program: PathBuf,
    agent: PathBuf,
    sha256: String,
}

impl Newer {
    fn new(machine: &Machine) -> Self {
        let dir = machine.home.path().join("newer");
        fs::create_dir(&dir).unwrap();
        let (program, agent) = (dir.join("nsvm"), dir.join("nsvm-agent"));
        copy(&self::program(), &program);
        let built = std::env::var_os("NSVM_AGENT")
            .map_or_else(|| self::program().with_file_name("nsvm-agent"), PathBuf::from);
        copy(&built, &agent);
        // Behind what a program is read for.
        let mut bytes = fs::read(&agent).unwrap();
        bytes.extend(b"newer");
        fs::write(&agent, &bytes).unwrap();
        Self { program, agent, sha256: crate::stream::digest(&bytes) }
    }

    /// A command of this one does its work.
    fn runs(&self, machine: &Machine) {
        let words = ["--machine", NAME, "exec", "echo", "newer"];
        let mut command = machine.home.spawnable_by(&self.program, words);
        command.env("NSVM_AGENT", &self.agent).stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.stdout, b"newer\n", "{said}");
    }
}

/// By a process of its own: one that another test forks meanwhile would hold our
/// copy open for writing, and such a file cannot be executed.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args([from, to]).status().unwrap().success());
}
