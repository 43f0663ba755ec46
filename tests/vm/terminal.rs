//! A command on a real pseudo-terminal of the host.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::common::{processes_with, program};
use crate::machine::{Machine, NAME};

/// A pseudo-terminal whose output is collected.
struct Screen {
    master: File,
    slave: File,
    output: mpsc::Receiver<Vec<u8>>,
    seen: String,
    reader: JoinHandle<()>,
    closing: Arc<AtomicBool>,
}

impl Screen {
    fn new(rows: u16, cols: u16) -> Self {
        // One that the command inherits would never hang up.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = name.to_str().unwrap().to_owned();
        let slave = File::options().read(true).write(true).open(path).unwrap();
        let master = File::from(master);
        let (sender, output) = mpsc::channel();
        let mut reader = master.try_clone().unwrap();
        let closing = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&closing);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            let brief = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            while !stop.load(Ordering::Relaxed) {
                let mut polled = [PollFd::new(&reader, PollFlags::IN)];
                if !poll(&mut polled, Some(&brief)).is_ok_and(|count| count > 0) {
                    continue;
                }
                match reader.read(&mut buffer) {
                    Ok(n @ 1..) if sender.send(buffer[..n].to_vec()).is_ok() => {}
                    _ => return,
                }
            }
        });
        let screen = Self { master, slave, output, seen: String::new(), reader, closing };
        screen.resize(rows, cols);
        screen
    }

    fn resize(&self, rows: u16, cols: u16) {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// Starts nsvm with this as its controlling terminal.
    fn run(&self, machine: &Machine, args: &[&str]) -> Child {
        let slave = || self.slave.try_clone().unwrap();
        Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(program())
            .args(["--machine", NAME])
            .args(args)
            .env("NSVM_HOME", machine.home.path())
            .env("TERM", "xterm")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .unwrap()
    }

    /// What comes up to this text, which is not found again.
    fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(at) = self.seen.find(text) {
                return self.seen.drain(..at + text.len()).collect();
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} never came; seen: {:?}", self.seen),
            }
        }
    }

    fn type_keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Closes the terminal's window, so to speak.
    fn hang_up(self) {
        let Self { master, slave, reader, closing, .. } = self;
        closing.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        drop((master, slave));
    }

    /// Whether typed characters are echoed and lines edited: not raw.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }
}

pub fn size_and_resize(machine: &Machine) {
    let mut screen = Screen::new(30, 100);
    let script = "trap 'stty size' WINCH; stty size; tty; while :; do sleep 0.1; done";
    let mut child = screen.run(machine, &["exec", "sh", "-c", script]);
    screen.wait_for("30 100");
    screen.wait_for("/dev/pts/");
    assert!(!screen.is_cooked(), "the host's terminal is raw meanwhile");
    screen.resize(40, 120);
    screen.wait_for("40 120");
    // Ctrl-C is a byte here; the guest's terminal makes the signal of it.
    screen.type_keys("\x03");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(screen.is_cooked());
}

/// Raw mode is undone whatever ends the command.
pub fn restored(machine: &Machine) {
    let mut screen = Screen::new(24, 80);
    let mut child = screen.run(machine, &["exec", "sh", "-c", "echo up; sleep 100"]);
    screen.wait_for("up");
    assert!(!screen.is_cooked());
    let pid = processes_with("echo up; sleep 100")
        .into_iter()
        .find(|pid| {
            let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            exe == program()
        })
        .expect("nsvm runs");
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while !screen.is_cooked() {
        assert!(Instant::now() < end, "the terminal is left raw");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A shell in namespaces of its own, without the marks that tell pasted text
/// from typed.
fn shell(screen: &mut Screen, machine: &Machine) -> Child {
    let options = ["--user", "--pid", "--map-root-user", "--mount-proc", "--fork"];
    let plain = ["--set-env", "PS1=ready> ", "--set-env", "TERM=dumb"];
    let bash = ["bash", "--norc", "--noprofile", "-i"];
    let child = screen.run(machine, &[&["unshare"], &options[..], &plain, &bash].concat());
    screen.wait_for("ready> ");
    child
}

/// What ps(1) says of the guest's `sleep SECONDS`: empty when there is none.
fn state(machine: &Machine, seconds: u32) -> String {
    let script = format!("ps -o stat= -p \"$(pgrep -fx 'sleep {seconds}')\" 2>/dev/null; :");
    machine.says(["sh", "-c", &script])
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Jobs are stopped, resumed and ended by keys, and the shell sees a resize, as
/// in a local terminal.
pub fn a_shell(machine: &Machine) {
    let mut screen = Screen::new(30, 100);
    let mut child = shell(&mut screen, machine);
    screen.type_keys("echo $$ $(id -u)\r");
    screen.wait_for("\n1 0\r\n");
    screen.type_keys("sleep 98761\r");
    eventually("the program runs", || state(machine, 98761).starts_with('S'));
    screen.type_keys("\x1a");
    screen.wait_for("Stopped");
    screen.wait_for("ready> ");
    assert!(state(machine, 98761).starts_with('T'));
    screen.type_keys("jobs\r");
    screen.wait_for("[1]+  Stopped");
    screen.type_keys("fg\r");
    eventually("it goes on", || state(machine, 98761).starts_with('S'));
    screen.type_keys("\x03");
    screen.wait_for("ready> ");
    screen.type_keys("echo was $?\r");
    screen.wait_for("was 130");
    assert_eq!(state(machine, 98761), "");
    screen.type_keys("sleep 98762\r");
    eventually("the next one runs", || state(machine, 98762).starts_with('S'));
    screen.type_keys("\x1c");
    screen.wait_for("Quit");
    screen.wait_for("ready> ");
    screen.resize(7, 33);
    // The size and the keys take different ways.
    eventually("the size has come", || {
        screen.type_keys("stty size\r");
        screen.wait_for("stty size\r\n");
        screen.wait_for("ready> ").starts_with("7 33\r\n")
    });
    screen.type_keys("exit 4\r");
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert!(screen.is_cooked());
    assert_eq!(state(machine, 98762), "");
}

/// A window that is closed takes all jobs of its shell along.
pub fn hang_up(machine: &Machine) {
    let mut screen = Screen::new(24, 80);
    let mut child = shell(&mut screen, machine);
    screen.type_keys("sleep 98763 &\r");
    screen.wait_for("ready> ");
    screen.type_keys("sleep 98764\r");
    let both = |machine: &Machine| state(machine, 98763) + &state(machine, 98764);
    eventually("both run", || both(machine).len() >= 2);
    screen.hang_up();
    eventually("both have ended", || both(machine).is_empty());
    eventually("the command has ended", || child.try_wait().unwrap().is_some());
}
