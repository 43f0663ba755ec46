//! The launcher: a process whose copies become the programs.
//!
//! ```text
//! agent --- one more ---------------> launcher -- clone --> copy, a child of the agent
//! agent <-- number, socket to it ---- launcher
//! agent --- work, streams --------------------------------> copy -- steps --> exec
//! ```
//!
//! Up to its exec a program's process is a copy of another one, and while it is
//! one, its user may have a look into it: newuidmap(1) demands that. What others
//! have sent to the agent must not be found there. The launcher is executed
//! anew and never gets the work of any program: only its copy does. One copy
//! waits in advance, so that no command waits for the fork.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;

use nix::unistd::ForkResult;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::work::{self, Ends, Work};
use crate::agent::{descriptors, sys};

/// How long the launcher may take to copy itself, and a copy to read its work:
/// moments, but the machine may be out of memory or translated.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often something may have been killed under a command that just starts:
/// a copy, the launcher, and once more each.
const ATTEMPTS: u32 = 4;

/// Asks for a copy.
const ONE_MORE: u8 = b'+';

/// Comes with the streams.
const WORK: u8 = b'W';

thread_local! {
    /// As a process has one thread, it has one launcher, or forks itself.
    static LAUNCHER: RefCell<Option<Launcher>> = const { RefCell::new(None) };
}

/// The process, seen from the agent.
struct Launcher {
    process: Child,
    socket: UnixStream,
}

/// A process that waits for its work.
struct Copy {
    pid: Pid,
    socket: UnixStream,
}

/// Starts it, for all programs of this process from now on.
pub fn install() -> io::Result<()> {
    let launcher = Launcher::start()?;
    LAUNCHER.set(Some(launcher));
    Ok(())
}

/// A new child of this process that does `work`.
pub fn start(work: &Work, ends: Ends, reports: &OwnedFd) -> io::Result<Pid> {
    let launched = LAUNCHER.with_borrow_mut(|launcher| {
        let launcher = launcher.as_mut()?;
        let fds: Vec<_> = [reports.as_fd()].into_iter().chain(ends.all()).collect();
        Some(launcher.launch(work, &fds))
    });
    match launched {
        Some(launched) => launched,
        None => fork(work, ends, reports),
    }
}

/// By an agent that serves one request and knows no other.
fn fork(work: &Work, ends: Ends, reports: &OwnedFd) -> io::Result<Pid> {
    match sys::fork()? {
        ForkResult::Child => work::do_it(work, ends, reports),
        ForkResult::Parent { child } => Ok(pid(child.as_raw())),
    }
}

fn pid(number: i32) -> Pid {
    Pid::from_raw(number).expect("a child has a number")
}

impl Launcher {
    fn start() -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("nsvm-agent").arg("launch").stdin(OwnedFd::from(theirs));
        let launcher = Self { process: command.spawn()?, socket };
        launcher.ask()?;
        Ok(launcher)
    }

    fn ask(&self) -> io::Result<()> {
        (&self.socket).write_all(&[ONE_MORE])
    }

    /// Another one is started where it has been killed, and another copy taken
    /// where that has.
    fn launch(&mut self, work: &Work, fds: &[BorrowedFd<'_>]) -> io::Result<Pid> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        let bytes = rmp_serde::to_vec_named(work).map_err(io::Error::other)?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let copy = match self.take() {
                Err(e) if e.kind() == UnexpectedEof => {
                    self.restart()?;
                    continue;
                }
                copy => copy?,
            };
            let given = copy.give(&bytes, fds);
            // Only now, so that the work comes first. A launcher that has ended
            // is noticed when the next copy is needed.
            let _ = self.ask();
            match given {
                Ok(pid) => return Ok(pid),
                Err(e) if matches!(e.kind(), BrokenPipe | ConnectionReset) => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(last.unwrap_or_else(|| UnexpectedEof.into()))
    }

    /// The copy that was asked for before.
    fn take(&self) -> io::Result<Copy> {
        let mut number = [0; 4];
        let Ok((4, mut fds)) = descriptors::receive(&self.socket, &mut number) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let number = i32::from_be_bytes(number);
        match fds.pop() {
            Some(socket) => Ok(Copy { pid: pid(number), socket: socket.into() }),
            None => {
                let _ = self.ask();
                Err(io::Error::from_raw_os_error(number))
            }
        }
    }

    fn restart(&mut self) -> io::Result<()> {
        eprintln!("nsvm-agent: the launcher has ended; another one is started");
        let _ = self.process.kill();
        self.process.wait()?;
        *self = Self::start()?;
        Ok(())
    }
}

impl Copy {
    /// What cannot take its work is ended.
    fn give(self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<Pid> {
        let given = self
            .socket
            .set_write_timeout(Some(PATIENCE))
            .and_then(|()| descriptors::send(&self.socket, &[WORK], fds))
            .and_then(|()| (&self.socket).write_all(bytes));
        if given.is_err() {
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = waitpid(Some(self.pid), WaitOptions::empty());
        }
        given.map(|()| self.pid)
    }
}

/// `nsvm-agent launch`: copies itself whenever it is told so on stdin, a
/// socket, until that is closed.
pub fn serve() -> io::Result<()> {
    sys::default_signals();
    sys::ignore_broken_pipes();
    // For those who look at processes.
    let _ = rustix::thread::set_name(c"launcher");
    let agent = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    loop {
        // An agent that was killed may have left an answer unread, which is
        // an error here; the same end.
        if !matches!((&agent).read(&mut [0]), Ok(1)) {
            return Ok(());
        }
        let (socket, theirs) = UnixStream::pair()?;
        let told = match sys::fork_beside() {
            Ok(ForkResult::Child) => {
                drop((agent, socket));
                wait_for_work(theirs)
            }
            Ok(ForkResult::Parent { child }) => {
                descriptors::send(&agent, &child.as_raw().to_be_bytes(), &[socket.as_fd()])
            }
            Err(e) => descriptors::send(&agent, &e.raw_os_error().unwrap_or(0).to_be_bytes(), &[]),
        };
        if told.is_err() {
            return Ok(());
        }
    }
}

/// An agent that has ended wants nothing done.
fn wait_for_work(socket: UnixStream) -> ! {
    let _ = rustix::thread::set_name(c"spare");
    let Ok((1, mut fds)) = descriptors::receive(&socket, &mut [0]) else { sys::exit_now(0) };
    let mut bytes = Vec::new();
    let read = (&socket).read_to_end(&mut bytes);
    drop(socket);
    let _ = rustix::thread::set_name(c"nsvm-agent");
    // An agent that has broken off: half of the work is none.
    let work = read.ok().and_then(|_| rmp_serde::from_slice(&bytes).ok());
    let reports = (!fds.is_empty()).then(|| fds.remove(0));
    match (work, reports, Ends::of(fds)) {
        (Some(work), Some(reports), Some(ends)) => work::do_it(&work, ends, &reports),
        _ => sys::exit_now(1),
    }
}
