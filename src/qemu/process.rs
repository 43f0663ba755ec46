//! QEMU's process: started with its output in a log and the machine's VM lock
//! in its hands, watched, and ended.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::tail::tail;
use crate::fs::Lock;
use crate::host;

/// Enough of QEMU's log to hold its reason.
const LOG_LINES: usize = 6;

/// Why QEMU could not be started, or ended too early.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("cannot start QEMU \"{}\": {source}", path.display())]
    Start { path: PathBuf, source: io::Error },
    #[error("cannot write QEMU's log \"{}\": {source}", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("QEMU ended unexpectedly ({status}){}", after_colon(.words))]
    Ended { status: ExitStatus, words: String, log: PathBuf },
}

impl ProcessError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start { .. } => Some("Set NSVM_QEMU to a qemu-system-* program.".into()),
            Self::Log { .. } => None,
            Self::Ended { log, .. } => Some(format!("See \"{}\".", log.display())),
        }
    }
}

fn after_colon(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

/// How long a QEMU lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// As long as its guest: a supervisor's end must not be the VM's.
    Own,
    /// No longer than the thread that starts it, where the system can see to
    /// that (Linux).
    Starters,
}

/// A QEMU that this process started. Dropping it leaves the VM running.
#[derive(Debug)]
pub struct QemuProcess {
    child: Child,
    log: PathBuf,
    /// Held here only where a child cannot inherit it (Windows).
    _lock: Option<Lock>,
}

impl QemuProcess {
    /// Starts QEMU. Its output replaces `log`. Where the system allows it, the
    /// child alone holds `vm_lock` from then on, so that the lock tells
    /// whether the VM lives however this process ends.
    pub fn start(
        qemu: &Path,
        argv: &[OsString],
        log: &Path,
        vm_lock: Lock,
        life: Life,
    ) -> Result<Self, ProcessError> {
        let cannot_start = |source| ProcessError::Start { path: qemu.to_owned(), source };
        let mut command = Command::new(qemu);
        command.args(argv).stdin(Stdio::null()).current_dir(root());
        let (out, err) =
            open_log(log).map_err(|source| ProcessError::Log { path: log.to_owned(), source })?;
        command.stdout(out).stderr(err);
        host::own_group(&mut command);
        if life == Life::Starters {
            host::end_with_parent(&mut command);
        }
        let inherited = host::inherit(&mut command, vm_lock.file()).map_err(cannot_start)?;
        let child = command.spawn().map_err(cannot_start)?;
        let lock = (!inherited).then_some(vm_lock);
        Ok(Self { child, log: log.to_owned(), _lock: lock })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status if it has ended.
    pub fn try_exit(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for its end; `None` when the deadline comes first.
    pub fn wait_exit(&mut self, deadline: Duration) -> io::Result<Option<ExitStatus>> {
        let end = Instant::now() + deadline;
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() >= end {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Fails if it has ended, with QEMU's own words: for those who wait for
    /// something it is to do.
    pub fn check_alive(&mut self) -> Result<(), ProcessError> {
        match self.try_exit() {
            Ok(Some(status)) => Err(ProcessError::Ended {
                status,
                words: own_words(&self.log),
                log: self.log.clone(),
            }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Ends it at once and waits until it is gone.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }
}

/// What QEMU printed last, on one line.
pub fn own_words(log: &Path) -> String {
    tail(log, LOG_LINES).replace('\n', "; ")
}

/// A directory that is never removed or unmounted, to be in.
fn root() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    here.ancestors().last().filter(|root| root.is_absolute()).unwrap_or(Path::new("/")).to_owned()
}

/// The log twice, for both streams; appending, so that neither overwrites the
/// other.
fn open_log(path: &Path) -> io::Result<(fs::File, fs::File)> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let log = OpenOptions::new().create(true).append(true).open(path)?;
    Ok((log.try_clone()?, log))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::fs::is_locked;

    struct Machine {
        dir: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// Runs a shell in QEMU's place.
        fn start(&self, script: &str) -> QemuProcess {
            let lock = Lock::try_acquire(&self.path("vm.lock")).unwrap().unwrap();
            let argv = ["-c".into(), script.into()];
            let (shell, log) = (Path::new("/bin/sh"), self.path("qemu.log"));
            QemuProcess::start(shell, &argv, &log, lock, Life::Own).unwrap()
        }

        fn locked(&self) -> bool {
            is_locked(&self.path("vm.lock")).unwrap()
        }

        /// Not at once: another test's child has this lock too between its
        /// fork and its exec.
        fn wait_unlocked(&self) {
            let end = Instant::now() + Duration::from_secs(10);
            while self.locked() {
                assert!(Instant::now() < end, "the lock is still held");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    #[test]
    fn the_child_holds_the_lock_as_long_as_it_lives() {
        let machine = Machine::new();
        let mut child = machine.start("exec sleep 100");
        assert!(machine.locked());
        assert!(child.check_alive().is_ok());
        assert_eq!(child.wait_exit(Duration::from_millis(20)).unwrap(), None);
        child.kill().unwrap();
        machine.wait_unlocked();
    }

    #[test]
    fn dropping_the_handle_leaves_the_vm_and_its_lock() {
        let machine = Machine::new();
        let stop = machine.path("stop");
        drop(machine.start(&format!("until [ -e {} ]; do sleep 0.01; done", stop.display())));
        assert!(machine.locked());
        fs::write(stop, "").unwrap();
        machine.wait_unlocked();
    }

    #[test]
    fn an_early_death_is_told_in_its_own_words() {
        let machine = Machine::new();
        let mut child = machine.start("echo 'qemu: \u{1b}[1mno such disk' >&2; exit 3");
        child.wait_exit(Duration::from_secs(10)).unwrap().expect("it ends");
        let error = child.check_alive().unwrap_err();
        assert!(error.to_string().ends_with(": qemu: no such disk"), "{error}");
        assert!(error.hint().unwrap().contains("qemu.log"));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let machine = Machine::new();
        let lock = Lock::try_acquire(&machine.path("vm.lock")).unwrap().unwrap();
        let log = machine.path("qemu.log");
        let started = QemuProcess::start(Path::new("/no/qemu"), &[], &log, lock, Life::Own);
        let error = started.unwrap_err();
        assert!(error.to_string().contains("\"/no/qemu\""), "{error}");
        machine.wait_unlocked();
    }
}
