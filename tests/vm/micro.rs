//! The guest without systemd, from init to removal, in two boots.

use std::fs;

use crate::common::{Process, processes_with};
use crate::machine::Machine;
use crate::{bounds, commands, suspended};

const NAME: &str = "m1";

const BOOT_ID: [&str; 2] = ["cat", "/proc/sys/kernel/random/boot_id"];

pub fn story() {
    let home = crate::common::Home::sharing_images();
    fs::create_dir(home.path().join("shared")).unwrap();
    fs::write(home.path().join("shared/file"), "of the host\n").unwrap();
    let volume = format!("{}:/mnt/shared", home.path().join("shared").display());
    let asked = ["--timezone", "Asia/Kathmandu", "--swap", "64", "--volume", &volume];
    let machine = Machine::made(home, NAME, "micro", &asked.map(str::to_owned));
    machine.tell("first boot of the micro guest", first_boot);
    machine.tell("what it is", what_it_is);
    machine.tell("the article's example, on micro", commands::article);
    machine.tell("exit codes, on micro", commands::exit_codes);
    machine.tell("all kinds of namespaces, on micro", commands::all_kinds);
    machine.tell("limits and networks, on micro", confined);
    machine.tell("ssh and copies, on micro", ssh_and_copies);
    machine.tell("what needs systemd", without_systemd);
    machine.tell("the agent comes back", agent_comes_back);
    machine.tell("suspend and resume, on micro", suspend_and_resume);
    machine.tell("cycles under load, on micro", suspended::cycles);
    machine.tell("stop and start, on micro", stop_and_start);
    machine.tell("a start without sshd", without_sshd);
    machine.home.run(["machine", "rm", "--force", NAME]).exits(0);
    assert!(machine.home.traces_of(NAME).is_empty());
}

/// Commands need no sshd from the second boot on; who does need it is told.
fn without_sshd(machine: &Machine) {
    let restart = || {
        machine.home.run(["machine", "stop", NAME]).exits(0);
        start(machine);
    };
    let wait = |timeout: &str| {
        machine.home.run(["machine", "wait", "--timeout", timeout, "--for", "ssh", NAME])
    };
    root(machine, "mv /usr/sbin/sshd /usr/sbin/sshd.away");
    restart();
    wait("2").exits(125).complains(&["its SSH server does not answer", "nsvm machine logs"]);
    root(machine, "mv /usr/sbin/sshd.away /usr/sbin/sshd");
    restart();
    wait("60").exits(0);
}

fn start(machine: &Machine) {
    let done = format!("Machine \"{NAME}\" started successfully\n");
    machine.home.run(["machine", "start", NAME]).exits(0).prints(&done);
}

fn root(machine: &Machine, script: &str) -> String {
    let ran = machine.run(["exec", "--user-name", "root", "sh", "-c", script]);
    ran.exits(0).stdout().trim().to_owned()
}

fn first_boot(machine: &Machine) {
    let units = machine.home.path().join("units.ign");
    let text = r#"{ "ignition": { "version": "3.3.0" }, "systemd": { "units": [{ "name": "a.timer" }] } }"#;
    fs::write(&units, text).unwrap();
    let own = ["machine", "init", "--image", "micro", "--ignition-path", units.to_str().unwrap()];
    machine
        .home
        .run([&own[..], &["m2"]].concat())
        .exits(125)
        .complains(&["--ignition-path has units of systemd (a.timer), which micro does not have"]);
    start(machine);
}

/// Process 1 is busybox, what init was told is there, and no process is lost.
fn what_it_is(machine: &Machine) {
    assert_eq!(machine.says(["ps", "-o", "args=", "-p", "1"]), "/bin/busybox init");
    machine.run(["exec", "sh", "-c", "command -v systemctl"]).exits(127);
    assert_eq!(board(machine), "microvm");
    assert_eq!(machine.says(["hostname"]), NAME);
    assert_eq!(machine.says(["date", "+%z"]), "+0545");
    assert_eq!(machine.says(["cat", "/mnt/shared/file"]), "of the host");
    assert_eq!(machine.says(["sh", "-c", "swapon --show=SIZE --noheadings"]), "64M");
    let served = "stat -c '%n %U %a' /run/user/* /dev/fuse /dev/net/tun; ls /dev/fd >/dev/null";
    let wanted = "/run/user/1000 core 700\n/dev/fuse root 666\n/dev/net/tun root 666";
    assert_eq!(machine.says(["sh", "-c", served]), wanted);
    assert_eq!(machine.says(["cat", "/proc/self/cgroup"]), "0::/system.slice/nsvm-agent.service");
    assert_eq!(machine.says(["cat", "/proc/sys/user/max_user_namespaces"]), "65536");
    machine.says(["sh", "-c", "(sh -c 'sleep 0.1 & exec true' &) ; sleep 1"]);
    assert_eq!(machine.says(["sh", "-c", "ps -eo stat= | grep -c ^Z || :"]), "0");
}

/// Which machine type its QEMU was started with.
fn board(machine: &Machine) -> String {
    let qemu = machine.home.processes().into_iter().find(Process::is_qemu).unwrap();
    let mut arguments = qemu.arguments.split('\0').skip_while(|argument| *argument != "-machine");
    arguments.nth(1).unwrap().split(',').next().unwrap().to_owned()
}

fn confined(machine: &Machine) {
    let limited = ["unshare", "-r", "--memory", "64m", "--pids-limit", "20"];
    let read = "cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.max";
    machine.run([&limited[..], &["sh", "-c", read]].concat()).exits(0).prints("67108864\n");
    bounds::network(machine);
    machine.run(["ns", "create", "kept", "-uipr", "--hostname", "inner"]).exits(0);
    machine.run(["ns", "exec", "kept", "hostname"]).exits(0).prints("inner\n");
    assert!(machine.run(["lsns"]).exits(0).stdout().contains("uts"));
}

fn ssh_and_copies(machine: &Machine) {
    let home = &machine.home;
    home.run(["machine", "ssh", NAME, "sudo", "whoami"]).exits(0).prints("root\n");
    home.run(["machine", "ssh", NAME, "exit 7"]).exits(7);
    let file = home.path().join("to copy");
    let bytes = vec![7_u8; 300_000];
    fs::write(&file, &bytes).unwrap();
    let there = format!("{NAME}:/var/tmp/copied");
    home.run(["machine", "cp", "-q", file.to_str().unwrap(), &there]).exits(0);
    let back = home.path().join("back");
    home.run(["machine", "cp", "-q", &there, back.to_str().unwrap()]).exits(0);
    assert!(fs::read(back).unwrap() == bytes);
}

fn without_systemd(machine: &Machine) {
    let wait =
        |what: &str| machine.home.run(["machine", "wait", "--timeout", "60", "--for", what, NAME]);
    wait("agent").exits(0);
    for what in ["system", "unit:ssh.service"] {
        wait(what).exits(125).complains(&["its image has no systemd to wait for"]);
    }
}

/// One that is killed is started again, and so is one that has another digest.
fn agent_comes_back(machine: &Machine) {
    let serving = "pgrep -xf '/usr/local/libexec/nsvm-agent serve'";
    let before = root(machine, serving);
    machine.run([
        "exec",
        "--user-name",
        "root",
        "sh",
        "-c",
        "pkill -9 -f 'nsvm-agent serve'; sleep 60",
    ]);
    assert_ne!(root(machine, serving), before);
    machine.run(["ns", "exec", "kept", "hostname"]).exits(0).prints("inner\n");
}

fn suspend_and_resume(machine: &Machine) {
    let boot = machine.says(BOOT_ID);
    suspended::suspend(machine);
    start(machine);
    assert_eq!(machine.says(BOOT_ID), boot);
    assert_eq!(machine.says(["cat", "/mnt/shared/file"]), "of the host");
    machine.run(["ns", "exec", "kept", "hostname"]).exits(0).prints("inner\n");
}

/// By the power button: the host ends nothing by force, and the disk was
/// unmounted.
fn stop_and_start(machine: &Machine) {
    let boot = machine.says(BOOT_ID);
    machine.says(["sh", "-c", "echo kept >~/kept; sudo sh -c 'echo kept >/var/lib/kept'"]);
    let done = format!("Machine \"{NAME}\" stopped successfully\n");
    machine.home.run(["machine", "stop", NAME]).exits(0).prints(&done);
    let uuid = machine.config()["Uuid"].as_str().unwrap().to_owned();
    assert_eq!(processes_with(&uuid), Vec::<u32>::new());
    start(machine);
    assert_ne!(machine.says(BOOT_ID), boot);
    assert_eq!(machine.says(["sh", "-c", "cat ~/kept /var/lib/kept"]), "kept\nkept");
    assert_eq!(root(machine, "dmesg | grep -c 'EXT4-fs.*recovery' || :"), "0");
    assert_eq!(machine.says(["cat", "/mnt/shared/file"]), "of the host");
    machine.home.run(["machine", "wait", "--timeout", "60", "--for", "ssh", NAME]).exits(0);
    let log = machine.home.run(["machine", "logs", "--supervisor", NAME]).stdout();
    assert_eq!(log.matches("no agent answers yet").count(), 1, "{log}");
    assert_eq!(log.matches("the guest said that it is ready").count(), 2, "{log}");
}
