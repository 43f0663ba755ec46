//! Runs a plan: each step is one or two calls of [`Sys`], and a failure is
//! told in util-linux's words.

mod build;
mod enter;
#[cfg(test)]
mod tests;

use std::io;

pub use build::{Build, BuildError};
pub use enter::{ContextError, Enter};

use enter::Entering;

use super::failure::{failed, refused};
use crate::namespace::enter::KindFile;
use crate::namespace::idmap;
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::plan::{Clock, Credentials, IdMaps, Parent, StartDirectory, Step};
use crate::namespace::spec::{Propagation, SetGroups};
use crate::protocol::outcome::{FailedStep, Failure};

/// What a new process asks of the kernel. The real one is
/// [`super::sys::Kernel`]; tests record.
pub trait Sys: Enter + Build {
    /// Joins the control group that was made for the program.
    fn confine(&mut self) -> io::Result<()>;
    fn become_user(&mut self, credentials: &Credentials) -> io::Result<()>;
    fn unshare(&mut self, kinds: Kinds) -> io::Result<()>;
    /// Those of them that the kernel does not have.
    fn lacking(&self, kinds: Kinds) -> Kinds;
    /// Starts the process that writes `maps` for this one.
    fn start_id_mapper(&mut self, maps: &IdMaps) -> io::Result<()>;
    /// Lets it write, and waits; whether it could.
    fn finish_id_mapper(&mut self) -> io::Result<bool>;
    /// Starts the process that connects the new network namespace.
    fn start_connector(&mut self) -> io::Result<()>;
    /// Lets it connect, and waits; whether it could.
    fn finish_connector(&mut self) -> io::Result<bool>;
    fn set_loopback_up(&mut self) -> io::Result<()>;
    /// Shows a file in the place of another.
    fn show_file(&mut self, of: &[u8], at: &[u8]) -> io::Result<()>;
    /// Starts the process that binds `files` to namespaces of this one.
    fn start_binder(&mut self, files: &[KindFile]) -> io::Result<()>;
    /// Lets it bind, and waits; whether it could.
    fn finish_binder(&mut self) -> io::Result<bool>;
    /// Binds a file to this process's own namespace.
    fn bind(&mut self, file: &KindFile) -> io::Result<()>;
    /// Writes a file below `/proc/self`.
    fn write_proc(&mut self, file: &str, text: &str) -> Result<(), WriteError>;
    /// Returns in the child; the parent waits for it and never returns.
    fn fork(&mut self, parent: &Parent) -> io::Result<()>;
    fn set_hostname(&mut self, name: &str) -> io::Result<()>;
    /// Of `path` and every mount below it.
    fn set_propagation(&mut self, path: &[u8], propagation: Propagation) -> io::Result<()>;
    fn mount_proc(&mut self, dir: &[u8]) -> io::Result<()>;
    fn mount_binfmt(&mut self, dir: &[u8]) -> io::Result<()>;
    /// Writes `line` to `register` of the `binfmt_misc` mounted on `dir`.
    fn register_interpreter(&mut self, dir: &[u8], line: &[u8]) -> Result<(), WriteError>;
    fn change_root(&mut self, dir: &[u8]) -> io::Result<()>;
    fn change_directory(&mut self, dir: &[u8]) -> io::Result<()>;
    fn drop_groups(&mut self) -> io::Result<()>;
    fn set_group(&mut self, gid: u32) -> io::Result<()>;
    fn set_user(&mut self, uid: u32) -> io::Result<()>;
    fn keep_capabilities(&mut self) -> io::Result<()>;
    /// Returns only when no candidate could be executed.
    fn exec(&mut self) -> io::Error;
}

/// Which half of writing a file failed.
#[derive(Debug)]
pub enum WriteError {
    Open(io::Error),
    Write(io::Error),
}

/// What the failures of a plan are about.
pub struct Subject<'a> {
    /// The user, for people.
    pub user: &'a str,
    pub program: &'a str,
}

/// Takes the steps in order; returns why the program did not start.
pub fn run(steps: &[Step], subject: &Subject<'_>, sys: &mut dyn Sys) -> Failure {
    if let Err(failure) = take_all(steps, subject, sys) {
        return failure;
    }
    let error = sys.exec();
    failed(FailedStep::Exec, format!("failed to execute {}", subject.program), &error)
}

/// Takes the steps in order, without running a program in the end.
pub fn take_all(steps: &[Step], subject: &Subject<'_>, sys: &mut dyn Sys) -> Result<(), Failure> {
    let mut entering = Entering::default();
    steps.iter().try_for_each(|step| take(step, subject, &mut entering, sys))
}

fn take(
    step: &Step,
    subject: &Subject<'_>,
    entering: &mut Entering,
    sys: &mut dyn Sys,
) -> Result<(), Failure> {
    let or = |result: io::Result<()>, what: &str| result.map_err(|e| namespaces(what, &e));
    match step {
        Step::Confine(_) => {
            let what = "cannot join the control group";
            sys.confine().map_err(|e| failed(FailedStep::Limits, what, &e))
        }
        Step::BecomeUser(credentials) => sys.become_user(credentials).map_err(|e| {
            failed(FailedStep::User, format!("cannot become user {}", subject.user), &e)
        }),
        Step::EnterDirectory(start) => enter(start, sys),
        Step::StartConnector => or(sys.start_connector(), "fork failed"),
        Step::StartIdMapper(maps) => or(sys.start_id_mapper(maps), "fork failed"),
        Step::Unshare(kinds) => unshare(*kinds, sys),
        Step::FinishIdMapper => finished(sys.finish_id_mapper(), "mapping users or groups failed"),
        Step::FinishConnector => finished(sys.finish_connector(), "connecting the network failed"),
        Step::LoopbackUp => sys
            .set_loopback_up()
            .map_err(|e| failed(FailedStep::Network, "cannot set the loopback device up", &e)),
        Step::StartBinder(files) => or(sys.start_binder(files), "fork failed"),
        Step::FinishBinder => finished(sys.finish_binder(), "binding namespaces failed"),
        Step::Bind(files) => bind(files, sys),
        Step::ClockOffset(clock, seconds) => clock_offset(*clock, *seconds, sys),
        Step::Fork(parent) => or(sys.fork(parent), "fork failed"),
        Step::MapUser(range) => write_map("uid_map", &idmap::lines(&[*range]), sys),
        Step::MapGroup(range) => write_map("gid_map", &idmap::lines(&[*range]), sys),
        Step::ControlSetgroups(control) => control_setgroups(*control, sys),
        other => set_up(other, entering, sys),
    }
}

/// File systems and identity.
fn set_up(step: &Step, entering: &mut Entering, sys: &mut dyn Sys) -> Result<(), Failure> {
    let or = |result: io::Result<()>, what: &str| result.map_err(|e| namespaces(what, &e));
    match step {
        Step::Propagate(propagation) => {
            let what = "cannot change root filesystem propagation";
            or(sys.set_propagation(b"/", *propagation), what)
        }
        Step::SetHostname(name) => or(sys.set_hostname(name), "sethostname failed"),
        Step::ShowNameServers { of, at } => show_name_servers(of, at, sys),
        Step::ChangeRoot(dir) => {
            let what = format!("cannot change root directory to '{}'", shown(dir));
            or(sys.change_root(dir), &what)
        }
        Step::ChangeDirectory(dir) => {
            or(sys.change_directory(dir), &format!("cannot chdir to '{}'", shown(dir)))
        }
        Step::MountProc { dir, make_private } => mount_proc(dir, *make_private, sys),
        Step::MountBinfmt(dir) => {
            or(sys.mount_binfmt(dir), &format!("mount {} failed", shown(dir)))
        }
        Step::LoadInterpreter { dir, line } => load_interpreter(dir, line, sys),
        Step::SetGroup(gid) => {
            or(sys.drop_groups(), "setgroups failed")?;
            or(sys.set_group(*gid), "setgid() failed")
        }
        Step::SetUser(uid) => or(sys.set_user(*uid), "setuid() failed"),
        Step::BecomeOwner { uid, gid } => {
            or(sys.drop_groups(), "setgroups failed")?;
            or(sys.set_group(*gid), "setgid() failed")?;
            or(sys.set_user(*uid), "setuid() failed")
        }
        Step::KeepCapabilities => or(sys.keep_capabilities(), "prctl(PR_CAP_AMBIENT) failed"),
        // Always the last step: who calls takes it.
        Step::Exec | Step::Hold => Ok(()),
        other => entering.take(other, sys),
    }
}

fn namespaces(what: &str, error: &io::Error) -> Failure {
    failed(FailedStep::Namespaces, what, error)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn enter(start: &StartDirectory, sys: &mut dyn Sys) -> Result<(), Failure> {
    let root = b"/".as_slice();
    let choice: Vec<&[u8]> = match start {
        StartDirectory::Present => return Ok(()),
        StartDirectory::Home(home) => vec![home, root],
        StartDirectory::Caller { dir, home } => vec![dir, home, root],
        StartDirectory::Asked(dir) => vec![dir],
    };
    let mut result = Ok(());
    for dir in choice {
        let what = || format!("cannot change directory to {}", shown(dir));
        result =
            sys.change_directory(dir).map_err(|e| failed(FailedStep::WorkingDirectory, what(), &e));
        if result.is_ok() {
            break;
        }
    }
    result
}

/// `EINVAL` alone says little: a kernel may be built without a kind.
fn unshare(kinds: Kinds, sys: &mut dyn Sys) -> Result<(), Failure> {
    sys.unshare(kinds).map_err(|e| {
        let failure = namespaces("unshare failed", &e);
        let names: Vec<_> = sys.lacking(kinds).iter().map(Kind::option).collect();
        if e.kind() != io::ErrorKind::InvalidInput || names.is_empty() {
            return failure;
        }
        let reason = format!("this kernel has no {} namespaces", names.join(" and "));
        Failure { message: format!("{}: {reason}", failure.message), ..failure }
    })
}

/// The end of a process that did something from outside.
fn finished(result: io::Result<bool>, otherwise: &str) -> Result<(), Failure> {
    match result {
        Ok(true) => Ok(()),
        // Its own report or newuidmap's words on stderr have said why.
        Ok(false) => Err(refused(FailedStep::Namespaces, otherwise)),
        Err(e) => Err(namespaces("waitpid failed", &e)),
    }
}

fn bind(files: &[KindFile], sys: &mut dyn Sys) -> Result<(), Failure> {
    for file in files {
        sys.bind(file).map_err(|e| namespaces(&bind_text("self", file), &e))?;
    }
    Ok(())
}

/// What a failed bind is about.
pub fn bind_text(pid: &str, file: &KindFile) -> String {
    let name = file.kind.proc_name_for_children();
    format!("mount /proc/{pid}/ns/{name} on {} failed", shown(&file.path))
}

/// A root directory may do without that file.
fn show_name_servers(of: &[u8], at: &[u8], sys: &mut dyn Sys) -> Result<(), Failure> {
    match sys.show_file(of, at) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            let what = format!("mount {} on {} failed", shown(of), shown(at));
            Err(failed(FailedStep::Network, what, &e))
        }
        _ => Ok(()),
    }
}

fn load_interpreter(dir: &[u8], line: &[u8], sys: &mut dyn Sys) -> Result<(), Failure> {
    let dir_text = shown(dir);
    sys.register_interpreter(dir, line).map_err(|e| match e {
        WriteError::Open(e) => namespaces(&format!("cannot open {dir_text}/register"), &e),
        WriteError::Write(e) => namespaces(&format!("write failed {dir_text}/register"), &e),
    })
}

/// The clock's number in `/proc/self/timens_offsets` is that of `clock_gettime(2)`.
fn clock_offset(clock: Clock, seconds: i64, sys: &mut dyn Sys) -> Result<(), Failure> {
    let number = match clock {
        Clock::Monotonic => 1,
        Clock::Boottime => 7,
    };
    sys.write_proc("timens_offsets", &format!("{number} {seconds} 0")).map_err(|e| match e {
        WriteError::Open(e) => namespaces("failed to open /proc/self/timens_offsets", &e),
        WriteError::Write(e) => namespaces("failed to write to /proc/self/timens_offsets", &e),
    })
}

fn control_setgroups(control: SetGroups, sys: &mut dyn Sys) -> Result<(), Failure> {
    let text = match control {
        SetGroups::Allow => "allow",
        SetGroups::Deny => "deny",
    };
    match sys.write_proc("setgroups", text) {
        // A kernel before 3.19 has no such file, and no such limit.
        Err(WriteError::Open(e)) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|e| unwritten("setgroups", e)),
    }
}

fn write_map(file: &str, lines: &str, sys: &mut dyn Sys) -> Result<(), Failure> {
    sys.write_proc(file, lines).map_err(|e| unwritten(file, e))
}

fn unwritten(file: &str, error: WriteError) -> Failure {
    match error {
        WriteError::Open(e) => namespaces(&format!("cannot open /proc/self/{file}"), &e),
        WriteError::Write(e) => namespaces(&format!("write failed /proc/self/{file}"), &e),
    }
}

fn mount_proc(dir: &[u8], make_private: bool, sys: &mut dyn Sys) -> Result<(), Failure> {
    if make_private {
        let result = sys.set_propagation(dir, Propagation::Private);
        // EINVAL: nothing is mounted on a directory of the user's choice.
        if let Err(e) = result
            && e.kind() != io::ErrorKind::InvalidInput
        {
            let what = format!("cannot change {} filesystem propagation", shown(dir));
            return Err(namespaces(&what, &e));
        }
    }
    let what = || format!("mount {} failed", shown(dir));
    sys.mount_proc(dir).map_err(|e| namespaces(&what(), &e))
}
