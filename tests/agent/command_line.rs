//! The host's end in a real terminal: this test program runs itself as the
//! command line there.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio as Process};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use nsvm::agent::pty::{self, Pty};
use nsvm::app::session;
use nsvm::app::terminal::{self, TtyChoice};
use nsvm::protocol::request::{ExecRequest, Size};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, tcgetattr};

use crate::client::{Agent, DEADLINE, Link, attach_command, eventually, within_deadline};
use crate::namespaces::{article, nap, sleeping};
use crate::needs_root;

const SOCKET: &str = "NSVM_TEST_SOCKET";
const SCRIPT: &str = "NSVM_TEST_SCRIPT";
const USER: &str = "NSVM_TEST_USER";

#[test]
#[ignore = "the tests below run it in a terminal"]
fn as_the_command_line() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let link = Link::new(attach_command(socket.as_ref()));
    let mut request = ExecRequest::new(["sh", "-c", &std::env::var(SCRIPT).unwrap()]);
    request.user = std::env::var(USER).ok().map(|user| user.parse().unwrap());
    if request.user.is_some() {
        request.namespaces = article();
    }
    request.tty = terminal::wanted(TtyChoice::Auto).unwrap();
    let outcome = session::run_here(link.connection(), request);
    println!("<{outcome:?}>");
}

/// The command line in a terminal, and what it shows there.
pub struct InTerminal {
    pub pty: Pty,
    process: Child,
    shown: Receiver<u8>,
    reader: JoinHandle<()>,
    closing: Arc<AtomicBool>,
}

impl InTerminal {
    fn start(agent: &Agent, script: &str) -> Self {
        Self::start_with(agent, script, &[])
    }

    /// In namespaces of this user's own, as the article has them.
    pub fn start_apart(agent: &Agent, user: &str, script: &str) -> Self {
        Self::start_with(agent, script, &[(USER, user)])
    }

    fn start_with(agent: &Agent, script: &str, variables: &[(&str, &str)]) -> Self {
        let size = Size { rows: 30, cols: 100, ..Size::default() };
        let pty = pty::open(size, 0).unwrap();
        let end = || Process::from(pty.terminal.try_clone().unwrap());
        // setsid makes the terminal the controlling one: resizes become signals.
        let process = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "command_line::as_the_command_line"])
            .env(SOCKET, agent.socket())
            .env(SCRIPT, script)
            .envs(variables.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let mut master = File::from(pty.master.try_clone().unwrap());
        let (show, shown) = channel();
        let closing = Arc::new(AtomicBool::new(false));
        let stop = closing.clone();
        let reader = std::thread::spawn(move || {
            let mut byte = [0];
            let brief = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            while !stop.load(Ordering::Relaxed) {
                let mut polled = [PollFd::new(&master, PollFlags::IN)];
                let ready = poll(&mut polled, Some(&brief)).is_ok_and(|count| count > 0);
                if ready && !(master.read(&mut byte).is_ok() && show.send(byte[0]).is_ok()) {
                    return;
                }
            }
        });
        Self { pty, process, shown, reader, closing }
    }

    /// Sends a signal to the command line, which setsid may have forked.
    fn kill(&self, signal: &str) {
        let own = self.process.id().to_string();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        // It has children of its own, but only setsid waits.
        let name = std::fs::read_to_string(format!("/proc/{own}/comm")).unwrap();
        let pid = if name.trim() == "setsid" { children.trim() } else { &own };
        Command::new("kill").args([signal, pid]).status().unwrap();
    }

    /// Closes the terminal's window, so to speak.
    pub fn hang_up(self) {
        let Self { pty, mut process, reader, closing, .. } = self;
        closing.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        drop(pty);
        within_deadline(move || process.wait().unwrap());
    }

    pub fn wait_for(&self, text: &str) -> String {
        let (end, mut seen) = (Instant::now() + DEADLINE, Vec::new());
        while !String::from_utf8_lossy(&seen).contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            let byte = self.shown.recv_timeout(left);
            seen.push(byte.unwrap_or_else(|e| {
                panic!("no {text:?} in {:?}: {e}", String::from_utf8_lossy(&seen))
            }));
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    pub fn type_keys(&self, keys: &[u8]) {
        File::from(self.pty.master.try_clone().unwrap()).write_all(keys).unwrap();
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.pty.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    pub fn end(mut self) -> (ExitStatus, bool) {
        let terminal = self.pty.terminal.try_clone().unwrap();
        let status = within_deadline(move || self.process.wait().unwrap());
        let modes = tcgetattr(&terminal).unwrap().local_modes;
        (status, modes.contains(LocalModes::ICANON | LocalModes::ECHO))
    }
}

#[test]
fn a_resize_reaches_the_program_and_the_modes_come_back() {
    needs_root!();
    let agent = Agent::start();
    let script = "stty size; stty -echo; echo ready; read line; stty size; echo got $line; exit 5";
    let terminal = InTerminal::start(&agent, script);
    terminal.wait_for("30 100\r\nready\r\n");
    assert!(terminal.is_raw());
    pty::resize(&terminal.pty.master, Size { rows: 7, cols: 33, ..Size::default() }).unwrap();
    // The signal and the keys take different ways.
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.type_keys(b"keys\r");
    let shown = terminal.wait_for("<Ok(Exited(5))>");
    assert!(shown.contains("7 33\r\ngot keys\r\n"), "{shown:?}");
    let (status, restored) = terminal.end();
    assert!(status.success() && restored, "{status:?} {restored}");
}

#[test]
fn keys_that_are_signals_here_reach_the_program_as_keys() {
    needs_root!();
    let agent = Agent::start();
    let terminal = InTerminal::start(
        &agent,
        "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done",
    );
    terminal.wait_for("ready");
    terminal.type_keys(b"\x03");
    terminal.wait_for("<Ok(Exited(3))>");
    assert!(terminal.end().1);
}

#[test]
fn a_deadly_signal_gives_the_terminal_back_and_ends_the_program() {
    needs_root!();
    let agent = Agent::start();
    let terminal = InTerminal::start(&agent, &format!("echo ready; exec sleep {}", nap(98708)));
    terminal.wait_for("ready");
    eventually("raw", || terminal.is_raw());
    terminal.kill("-TERM");
    let (status, restored) = terminal.end();
    assert!(status.signal() == Some(15) || status.code() == Some(143), "{status:?}");
    assert!(restored);
    eventually("the program has ended", || sleeping(98708).is_empty());
}

#[test]
fn killing_the_command_line_ends_the_whole_group_of_its_program() {
    needs_root!();
    let agent = Agent::start();
    let script =
        format!("sleep {} & sh -c 'sleep {}; :' & echo ready; wait", nap(98_740), nap(98_741));
    let terminal = InTerminal::start(&agent, &script);
    terminal.wait_for("ready");
    eventually("both run", || !sleeping(98_740).is_empty() && !sleeping(98_741).is_empty());
    terminal.kill("-KILL");
    eventually("both have ended", || sleeping(98_740).is_empty() && sleeping(98_741).is_empty());
    eventually("all is reaped", || agent.children().is_empty());
}
