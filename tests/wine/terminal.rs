//! A command on a console, which Wine makes of a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::{NAME, Windows};

/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_secs(60);

struct Screen {
    keyboard: File,
    output: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Screen {
    /// With the end that is the program's.
    fn new() -> (Self, File) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let size = Winsize { ws_row: 31, ws_col: 97, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        // Wine leaves the terminal as it finds it, and Ctrl-Z would stop it.
        let mut raw = tcgetattr(&slave).unwrap();
        raw.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &raw).unwrap();
        let mut reader = File::from(master);
        let keyboard = reader.try_clone().unwrap();
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        (Self { keyboard, output, seen: String::new() }, slave)
    }

    /// Waits until `text` was printed since the last wait.
    fn shows(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("no {text:?} in {:?}", self.seen),
            }
        }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }
}

/// The guest's terminal is as large as this one; every key gets there, also that
/// which ends the input of other programs; what is no text ends nothing.
pub fn keys_and_screen(windows: &Windows) {
    let (mut screen, slave) = Screen::new();
    // Without blanks, which Wine may jump over instead of printing them.
    let script = "stty -echo raw; printf 'a\\377b\\n'; stty size | tr ' ' x; printf ready; \
                  head -c 4 | od -An -tx1 | tr -d ' '; exit 9";
    let args = ["--machine", NAME, "exec", "-t", "--", "sh", "-c", script];
    let mut command = windows.spawnable(&args);
    let end = || slave.try_clone().unwrap();
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    screen.shows("a\u{FFFD}b");
    screen.shows("31x97");
    screen.shows("ready");
    screen.types("x\u{1a}é");
    screen.shows("781ac3a9");
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < end, "it does not end: {:?}", screen.seen);
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(9));
}
