//! Suspend and resume: the guest goes on where it was, or boots and loses
//! nothing that was on its disk; never an old memory over a newer disk.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::common::processes_with;
use crate::crashes::{kill_9, supervisor};
use crate::machine::{Machine, NAME};
use crate::sharing;

fn file(machine: &Machine, name: &str) -> PathBuf {
    machine.home.path().join(format!("data/{}/{name}", machine.name()))
}

fn uuid(machine: &Machine) -> String {
    machine.config()["Uuid"].as_str().unwrap().to_owned()
}

fn boot_id(machine: &Machine) -> String {
    machine.says(["cat", "/proc/sys/kernel/random/boot_id"])
}

pub fn suspend(machine: &Machine) {
    machine
        .home
        .run(["machine", "suspend", machine.name()])
        .exits(0)
        .prints(&format!("Machine \"{}\" suspended successfully\n", machine.name()));
    assert_eq!(machine.inspect()["State"], "suspended");
    assert_eq!(processes_with(&uuid(machine)), Vec::<u32>::new());
}

/// What the start says on the way.
fn start(machine: &Machine) -> String {
    machine.home.run(["machine", "start", machine.name()]).exits(0).stderr()
}

/// How far the guest's clock is from this host's, at most.
fn clock_error(machine: &Machine) -> f64 {
    let now = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap().as_secs_f64()
    };
    // A busy host answers late: then the guest's time lies somewhere between.
    let before = now();
    let guest: f64 = machine.says(["date", "+%s.%N"]).parse().unwrap();
    (before - guest).max(guest - now()).max(0.0)
}

/// What changes from cycle to cycle, and what must not.
struct Load<'a> {
    machine: &'a Machine,
    attached: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// Lines through a TCP connection within the guest.
const STREAM: &str = "i=0; while [ ! -e ~/enough ]; do i=$((i+1)); echo $i; sleep 0.05; done";

/// A number that grows in memory, and is shown in a file.
const COUNTER: &str =
    "i=0; while [ ! -e ~/enough ]; do i=$((i+1)); echo $i >~/inner; sleep 0.1; done";

fn detached(script: &str) -> String {
    format!("setsid -f sh -c '{script}' </dev/null >/dev/null 2>&1")
}

impl<'a> Load<'a> {
    fn begin(machine: &'a Machine) -> Self {
        machine.says(["sh", "-c", "rm -f ~/enough ~/counted ~/streamed"]);
        machine.says(["sh", "-c", &detached(WRITER)]);
        // It ends with its own stdin.
        let listener =
            "until [ -e ~/enough ]; do sleep 1; done | busybox nc -l -p 7007 >~/streamed";
        machine.says(["sh", "-c", &detached(listener)]);
        let talker = format!("sleep 1; ({STREAM}) | busybox nc 127.0.0.1 7007");
        machine.says(["sh", "-c", &detached(&talker)]);
        machine.run(["ns", "create", "-uinr", "--hostname", "inner", "busy"]).exits(0);
        machine.run(["ns", "exec", "busy", "sh", "-c", &detached(COUNTER)]).exits(0);
        let new = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "cat"];
        let mut attached =
            machine.home.spawnable(["--machine", machine.name()].into_iter().chain(new));
        let mut attached =
            attached.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("nsvm starts");
        let stdin = attached.stdin.take().unwrap();
        let stdout = BufReader::new(attached.stdout.take().unwrap());
        Self { machine, attached, stdin, stdout }
    }

    /// The session that was attached before is attached still.
    fn echo(&mut self, text: &str) {
        writeln!(self.stdin, "{text}").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), text);
    }

    /// The program in the named namespace.
    fn inner(&self) -> u64 {
        // Written anew each time: it may be empty just now.
        let script = "until read -r i <~/inner; do sleep 0.02; done; echo $i";
        self.machine.says(["sh", "-c", script]).parse().unwrap()
    }

    fn end(self) {
        let Self { machine, mut attached, stdin, stdout } = self;
        drop((stdin, stdout));
        assert!(attached.wait().unwrap().success());
        machine.says(["sh", "-c", "touch ~/enough; sleep 2"]);
        for file in ["counted", "streamed"] {
            let counted = machine.says(["cat", file]);
            let numbers: Vec<u32> = counted.lines().map(|line| line.parse().unwrap()).collect();
            let all = 1..=numbers.len().try_into().unwrap();
            assert!(numbers.len() > 20 && numbers.iter().copied().eq(all), "{file}: {counted}");
        }
        machine.run(["ns", "rm", "--force", "busy"]).exits(0);
        machine.says(["sh", "-c", "rm ~/counted ~/streamed ~/inner ~/enough"]);
    }
}

/// Suspended and resumed again and again, at work: the same boot, nothing lost,
/// the clock right, no random number twice.
pub fn cycles(machine: &Machine) {
    let cycles = if std::env::var_os("NSVM_TEST_ALL").is_some() { 10 } else { 2 };
    let boot = boot_id(machine);
    let mut load = Load::begin(machine);
    load.echo("begun");
    let (mut random, mut errors) = (HashSet::new(), Vec::new());
    for cycle in 1..=cycles {
        let before = load.inner();
        suspend(machine);
        let said = start(machine);
        assert!(said.contains("the guest goes on where it was: ok"), "{said}");
        errors.push(clock_error(machine));
        load.echo(&format!("cycle {cycle}"));
        assert_eq!(boot_id(machine), boot);
        assert!(load.inner() > before, "the named namespace's program goes on");
        let numbers = "cat /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx1";
        for number in machine.says(["sh", "-c", numbers]).lines() {
            assert!(random.insert(number.to_owned()), "{number} came twice");
        }
    }
    eprintln!("cycles: {cycles}, the clock was off by {errors:.3?} s");
    assert!(errors.iter().all(|error| *error < 0.2), "{errors:?}");
    load.end();
}

/// A file that the guest writes with fsync, a line at a time, until told to end.
const WRITER: &str = "i=0; while [ ! -e ~/enough ]; do i=$((i+1)); echo $i; sync ~/counted; \
                      sleep 0.05; done >>~/counted";

pub fn story(machine: &Machine) {
    copies_of_volumes(machine);

    machine.run(["ns", "create", "-uinr", "--hostname", "inner", "kept"]).exits(0);
    let daemon = "setsid -f sleep 100000 </dev/null >/dev/null 2>&1";
    machine.run(["ns", "exec", "kept", "sh", "-c", daemon]).exits(0);
    machine.says(["sh", "-c", &format!("setsid -f sh -c '{WRITER}' </dev/null >/dev/null 2>&1")]);
    let boot = boot_id(machine);
    let random = machine.says(["cat", "/proc/sys/kernel/random/uuid"]);

    suspend(machine);
    let list = machine.home.run(["machine", "list", "--noheading"]).exits(0).stdout();
    assert!(list.contains("Suspended"), "{list}");
    machine.run(["exec", "true"]).exits(125).complains(&["is not running", "nsvm machine start"]);
    let set = machine.home.run(["machine", "set", "--cpus", "1", NAME]).exits(125);
    set.complains(&["it is suspended", "stop --force"]);
    machine.home.run(["machine", "suspend", NAME]).exits(0);
    // It is not running, so there is nothing to stop; nor is anything lost.
    machine.home.run(["machine", "stop", NAME]).exits(0).complains(&["It is suspended"]);
    assert_eq!(machine.inspect()["State"], "suspended");
    std::thread::sleep(Duration::from_secs(3));

    let said = start(machine);
    assert!(said.contains("the guest goes on where it was: ok"), "{said}");
    assert!(clock_error(machine) < 0.2, "the clock is {} s off", clock_error(machine));
    assert_eq!(boot_id(machine), boot);
    assert_ne!(machine.says(["cat", "/proc/sys/kernel/random/uuid"]), random);
    assert_eq!(machine.run(["ns", "exec", "kept", "hostname"]).exits(0).stdout(), "inner\n");
    machine.run(["ns", "exec", "kept", "pgrep", "-f", "sleep 100000"]).exits(0);
    // The kernel was told, too, that it is not what it was (VMGENID).
    #[cfg(target_arch = "x86_64")]
    assert!(machine.says(["sudo", "dmesg"]).contains("crng reseeded due to virtual machine fork"));
    // The host's directories are there again, as are its ports.
    sharing::volumes(machine);
    // Nothing is left that could be resumed again.
    for name in ["suspended.json", "suspended.used", "suspended.ram"] {
        assert!(!file(machine, name).exists(), "{name}");
    }

    // By a supervisor that did not start it.
    kill_9(supervisor(machine));
    suspend(machine);
    start(machine);
    assert_eq!(boot_id(machine), boot);
    machine.says(["sh", "-c", "touch ~/enough; sleep 1"]);
    let counted = machine.says(["cat", "counted"]);
    let numbers: Vec<u32> = counted.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len().try_into().unwrap()), "{counted}");
    machine.run(["ns", "rm", "--force", "kept"]).exits(0);
}

/// A machine that nothing uses is suspended, and the next command resumes it.
pub fn idle(machine: &Machine) {
    let set = |time| {
        machine.home.run(["machine", "set", "--idle-suspend", time, NAME]).exits(0);
        assert_eq!(machine.inspect()["IdleSuspend"], time);
    };
    let log = || machine.home.run(["machine", "logs", "--supervisor", NAME]).exits(0).stdout();
    let boot = boot_id(machine);
    let before = log().matches("nothing uses the machine").count();
    set("4s");
    // A session uses it, though nothing happens; a program does that is at work.
    machine.run(["exec", "sh", "-c", "sleep 12; echo there"]).exits(0).prints("there\n");
    let busy = "timeout 12 sh -c 'while :; do :; done'";
    machine.run(["ns", "create", "-uinr", "busy"]).exits(0);
    let detached = format!("setsid -f {busy} </dev/null >/dev/null 2>&1");
    machine.run(["ns", "exec", "busy", "sh", "-c", &detached]).exits(0);
    std::thread::sleep(Duration::from_secs(9));
    assert_eq!(
        log().matches("nothing uses the machine").count(),
        before,
        "it was in use all the time"
    );

    asleep(machine);
    assert_eq!(machine.inspect()["SuspendReason"], "idle");
    assert_eq!(processes_with(&uuid(machine)), Vec::<u32>::new());
    let list = machine.home.run(["machine", "list", "--noheading"]).exits(0).stdout();
    assert!(list.contains("Suspended (idle)"), "{list}");
    // What only asks does not wake it. Several that need it at once do, together.
    assert_eq!(machine.inspect()["State"], "suspended");
    let commands: Vec<_> = (0..3)
        .map(|_| {
            let mut command = machine.home.spawnable(["--machine", NAME, "exec", "true"]);
            command.spawn().expect("nsvm starts")
        })
        .collect();
    for mut command in commands {
        assert!(command.wait().unwrap().success());
    }
    assert_eq!(boot_id(machine), boot);
    machine.run(["ns", "exec", "busy", "true"]).exits(0);
    asleep(machine);
    machine.run(["ns", "rm", "--force", "busy"]).exits(0);
    assert_eq!(boot_id(machine), boot);
    asleep(machine);
    let file = machine.home.path().join("note");
    fs::write(&file, "words").unwrap();
    let target = format!("{NAME}:note");
    machine.home.run(["machine", "cp", "-q", file.to_str().unwrap(), &target]).exits(0);
    assert_eq!(machine.says(["cat", "note"]), "words");
    set("off");
    assert_eq!(boot_id(machine), boot);
    assert_eq!(machine.inspect()["SuspendReason"], "");
}

/// Waits until the machine has been suspended by itself.
fn asleep(machine: &Machine) {
    let end = Instant::now() + Duration::from_secs(180);
    while machine.inspect()["State"] != "suspended" {
        assert!(Instant::now() < end, "it is not suspended");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Volumes must be let go of wherever they are mounted, and be there again.
fn copies_of_volumes(machine: &Machine) {
    // Mounts that nobody outside can take away and bring back: refused at once.
    machine.run(["ns", "create", "copy"]).exits(0);
    let refused = machine.home.run(["machine", "suspend", NAME]).exits(125);
    refused.complains(&[
        "unable to suspend \"t1\": its volumes",
        "namespace of its own",
        "--propagation slave",
    ]);
    assert_eq!(machine.inspect()["State"], "running");
    machine.run(["ns", "rm", "--force", "copy"]).exits(0);
    sharing::volumes(machine);
    // One that follows.
    machine.run(["ns", "create", "--propagation", "slave", "follows"]).exits(0);
    let mounts = "grep -c ' - 9p nsvm' /proc/self/mountinfo";
    let seen = || machine.run(["ns", "exec", "follows", "sh", "-c", mounts]).exits(0).stdout();
    let volumes = seen();
    suspend(machine);
    start(machine);
    assert_eq!(seen(), volumes);
    machine.run(["ns", "rm", "--force", "follows"]).exits(0);
}

/// The old memory and its header come back after the disk has moved on: by a
/// backup, say. It must not be resumed, and what is on the disk must stay.
pub fn old_memory(machine: &Machine) {
    let boot = boot_id(machine);
    suspend(machine);
    let names = ["suspended.json", "suspended.ram"];
    for name in names {
        fs::copy(file(machine, name), file(machine, &format!("{name}.kept"))).unwrap();
    }
    start(machine);
    assert_eq!(boot_id(machine), boot);
    machine.says(["sh", "-c", "echo newer >~/newer; sync"]);
    machine.home.run(["machine", "stop", "--force", NAME]).exits(0);
    for name in names {
        fs::rename(file(machine, &format!("{name}.kept")), file(machine, name)).unwrap();
    }
    assert_eq!(machine.inspect()["State"], "suspended");
    let said = start(machine);
    assert!(said.contains("the machine boots instead: the disk was written to since"), "{said}");
    assert_ne!(boot_id(machine), boot);
    assert_eq!(machine.says(["cat", "newer"]), "newer");
}

/// A state that is cut off, as by a power cut, costs the state and no more.
pub fn damaged(machine: &Machine) {
    machine.says(["sh", "-c", "echo safe >~/safe; sync"]);
    let boot = boot_id(machine);
    suspend(machine);
    let memory = fs::OpenOptions::new().write(true).open(file(machine, "suspended.ram")).unwrap();
    memory.set_len(memory.metadata().unwrap().len() / 2).unwrap();
    let said = start(machine);
    assert!(said.contains("the machine boots instead") && said.contains("damaged"), "{said}");
    assert_ne!(boot_id(machine), boot);
    assert_eq!(machine.says(["cat", "safe"]), "safe");
}

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Qemu,
    Supervisor,
    Command,
}

/// While what is done.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Suspending,
    Resuming,
}

/// SIGKILL in the middle: the next start works, resumed or booted, and what
/// was synced is there.
pub fn killed(machine: &Machine) {
    let all = std::env::var_os("NSVM_TEST_ALL").is_some();
    let victims = [Victim::Qemu, Victim::Supervisor, Victim::Command];
    // Two dozen moments in the long runs, others each time: a suspension takes
    // some 500 ms, a resumption 1000 ms.
    let moments = |_| if all { random_below(1000) } else { 150 };
    let delays: Vec<u64> = (0..if all { 4 } else { 1 }).map(moments).collect();
    let mut rounds = 0;
    for moment in [Moment::Suspending, Moment::Resuming] {
        for victim in victims {
            for delay in &delays {
                rounds += 1;
                let token = format!("{moment:?} {victim:?} {delay}");
                eprintln!("killed: {token}");
                machine.says(["sh", "-c", "echo \"$0\" >>~/tokens; sync", &token]);
                kill_in(machine, moment, victim, Duration::from_millis(*delay));
                recover(machine);
                let tokens = machine.says(["cat", "tokens"]);
                assert_eq!(tokens.lines().count(), rounds, "{tokens}");
                assert_eq!(tokens.lines().last(), Some(token.as_str()));
            }
        }
    }
    machine.says(["rm", "tokens"]);
}

/// Milliseconds.
fn random_below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    u64::from_ne_bytes(bytes) % limit
}

fn kill_in(machine: &Machine, moment: Moment, victim: Victim, delay: Duration) {
    let verb = match moment {
        Moment::Suspending => "suspend",
        Moment::Resuming => {
            suspend(machine);
            "start"
        }
    };
    let mut command = machine.home.spawnable(["machine", verb, NAME]);
    let mut command =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nsvm starts");
    std::thread::sleep(delay);
    let pids = match victim {
        Victim::Qemu => processes_with(&uuid(machine)),
        Victim::Supervisor => vec![supervisor_soon(machine)],
        Victim::Command => vec![command.id()],
    };
    pids.into_iter().for_each(kill_9);
    command.wait().unwrap();
}

/// A supervisor that has just been started tells its number a little later.
fn supervisor_soon(machine: &Machine) -> u32 {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(record) = machine.record_if_any() {
            return u32::try_from(record["SupervisorPid"].as_u64().unwrap()).unwrap();
        }
        assert!(Instant::now() < end, "no supervisor appears");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whatever is left, a start or the next command brings the machine back.
fn recover(machine: &Machine) {
    let end = Instant::now() + Duration::from_secs(60);
    // A supervisor goes on without its command, and ends a moment after QEMU.
    loop {
        let tried = machine.home.run(["machine", "start", "-q", NAME]);
        if tried.code() == 0 || tried.stderr().contains("already running") {
            // It may be on its way out: then it is not running in the end.
            if machine.run(["exec", "true"]).code() == 0 {
                return;
            }
        }
        assert!(Instant::now() < end, "{}", tried.stderr());
        std::thread::sleep(Duration::from_millis(200));
    }
}
