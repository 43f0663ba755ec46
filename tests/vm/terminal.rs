//! A command on a real pseudo-terminal of the host.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::{Duration, Instant};

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
}

impl Screen {
    fn new(rows: u16, cols: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = name.to_str().unwrap().to_owned();
        let slave = File::options().read(true).write(true).open(path).unwrap();
        let master = File::from(master);
        let (sender, output) = mpsc::channel();
        let mut reader = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n) = reader.read(&mut buffer) {
                if n == 0 || sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let screen = Self { master, slave, output, seen: String::new() };
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

    fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.seen.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} never came; seen: {:?}", self.seen),
            }
        }
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
    std::io::Write::write_all(&mut screen.master, b"\x03").unwrap();
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
