//! What a machine costs that does nothing, and what it gives back.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::crashes::supervisor;
use crate::machine::Machine;

/// What the guest has freed on its disk is free on this host after a stop.
pub fn disk_space(machine: &Machine) {
    const FILLED: u64 = 128 << 20;
    machine.says(["sh", "-c", "head -c 128M /dev/urandom >~/filler && sync"]);
    let filled = taken(machine);
    machine.says(["sh", "-c", "rm ~/filler"]);
    machine.stop();
    let after = taken(machine);
    eprintln!("the disk takes {filled} bytes, then {after}");
    assert!(after + FILLED * 3 / 4 < filled, "{filled} bytes, then {after}");
    machine.start();
}

/// Bytes that the machine's disk takes on this host.
fn taken(machine: &Machine) -> u64 {
    let inspected = machine.inspect();
    let disk = inspected["Image"]["ImagePath"]["Path"].as_str().unwrap();
    fs::metadata(disk).unwrap().blocks() * 512
}

/// How often a process has waited so far, and its CPU time in ms.
fn spent(pid: u32) -> (u64, u64) {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let waited = threads
        .map(|thread| fs::read_to_string(thread.path().join("status")).unwrap_or_default())
        .map(|status| waits(&status))
        .sum();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let ticks: u64 =
        rest.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().unwrap()).sum();
    // proc(5): in 1/100 s on every Linux.
    (waited, ticks * 10)
}

fn waits(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Nobody asks anything for a while: no timer of ours runs in the guest, and
/// the supervisor's are slow.
pub fn idle(machine: &Machine) {
    const WHILE: Duration = Duration::from_secs(20);
    let qemu = u32::try_from(machine.record()["QemuPid"].as_u64().unwrap()).unwrap();
    let agent = || {
        let script = "cat /proc/$(pgrep -xf '/usr/local/libexec/nsvm-agent serve')/status";
        waits(&machine.says(["--user-name", "root", "sh", "-c", script]))
    };
    // What a command itself costs is counted, too.
    let command = agent().abs_diff(agent());
    let (agent_before, before) = (agent(), (spent(supervisor(machine)), spent(qemu)));
    std::thread::sleep(WHILE);
    let (after, agent_after) = ((spent(supervisor(machine)), spent(qemu)), agent());
    let supervisor = (after.0.0 - before.0.0, after.0.1 - before.0.1);
    let of_qemu = after.1.1 - before.1.1;
    let of_agent = (agent_after - agent_before).saturating_sub(command);
    let seconds = WHILE.as_secs();
    eprintln!(
        "in {seconds} s: supervisor {supervisor:?} (waits, ms), QEMU {of_qemu} ms, agent {of_agent} waits"
    );
    // Every 2 s a look at the clock, every 10 s a question to the guest. Ten polls a second would show.
    assert!(supervisor.0 < 8 * seconds && supervisor.1 < 10 * seconds, "{supervisor:?}");
    assert!(of_agent < 5 * seconds, "{of_agent}");
    // A twentieth of a processor; a hundredth was measured.
    assert!(of_qemu < 50 * seconds, "{of_qemu} ms");
}
