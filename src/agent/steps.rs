//! Runs a plan: each step is one or two calls of [`Sys`], and a failure is
//! told in util-linux's words.

use std::io;

use super::failure::{failed, refused};
use crate::namespace::idmap;
use crate::namespace::kind::Kinds;
use crate::namespace::plan::{Clock, Credentials, IdMaps, StartDirectory, Step};
use crate::namespace::spec::{Propagation, SetGroups};
use crate::protocol::outcome::{FailedStep, Failure};

/// What a new process asks of the kernel. The real one is
/// [`super::sys::Kernel`]; tests record.
pub trait Sys {
    fn become_user(&mut self, credentials: &Credentials) -> io::Result<()>;
    fn unshare(&mut self, kinds: Kinds) -> io::Result<()>;
    /// Starts the process that writes `maps` for this one.
    fn start_id_mapper(&mut self, maps: &IdMaps) -> io::Result<()>;
    /// Lets it write, and waits; whether it could.
    fn finish_id_mapper(&mut self) -> io::Result<bool>;
    /// Writes a file below `/proc/self`.
    fn write_proc(&mut self, file: &str, text: &str) -> Result<(), WriteError>;
    /// Returns in the child; the parent waits for it and never returns.
    fn fork(&mut self, kill_child: Option<u8>) -> io::Result<()>;
    /// Of `path` and every mount below it.
    fn set_propagation(&mut self, path: &[u8], propagation: Propagation) -> io::Result<()>;
    fn mount_proc(&mut self, dir: &[u8]) -> io::Result<()>;
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
    for step in steps {
        if let Err(failure) = take(step, subject, sys) {
            return failure;
        }
    }
    let error = sys.exec();
    failed(FailedStep::Exec, format!("failed to execute {}", subject.program), &error)
}

fn take(step: &Step, subject: &Subject<'_>, sys: &mut dyn Sys) -> Result<(), Failure> {
    let or = |result: io::Result<()>, what: &str| result.map_err(|e| namespaces(what, &e));
    match step {
        Step::BecomeUser(credentials) => sys.become_user(credentials).map_err(|e| {
            failed(FailedStep::User, format!("cannot become user {}", subject.user), &e)
        }),
        Step::EnterDirectory(start) => enter(start, sys),
        Step::StartIdMapper(maps) => or(sys.start_id_mapper(maps), "fork failed"),
        Step::Unshare(kinds) => or(sys.unshare(*kinds), "unshare failed"),
        Step::FinishIdMapper => finish_id_mapper(sys),
        Step::ClockOffset(clock, seconds) => clock_offset(*clock, *seconds, sys),
        Step::Fork { kill_child } => or(sys.fork(*kill_child), "fork failed"),
        Step::MapUser(range) => write_map("uid_map", &idmap::lines(&[*range]), sys),
        Step::MapGroup(range) => write_map("gid_map", &idmap::lines(&[*range]), sys),
        Step::ControlSetgroups(control) => control_setgroups(*control, sys),
        Step::Propagate(propagation) => {
            let what = "cannot change root filesystem propagation";
            or(sys.set_propagation(b"/", *propagation), what)
        }
        Step::ChangeRoot(dir) => {
            let what = format!("cannot change root directory to '{}'", shown(dir));
            or(sys.change_root(dir), &what)
        }
        Step::ChangeDirectory(dir) => {
            or(sys.change_directory(dir), &format!("cannot chdir to '{}'", shown(dir)))
        }
        Step::MountProc { dir, make_private } => mount_proc(dir, *make_private, sys),
        Step::SetGroup(gid) => {
            or(sys.drop_groups(), "setgroups failed")?;
            or(sys.set_group(*gid), "setgid failed")
        }
        Step::SetUser(uid) => or(sys.set_user(*uid), "setuid failed"),
        Step::KeepCapabilities => or(sys.keep_capabilities(), "prctl(PR_CAP_AMBIENT) failed"),
        // Always the last step: `run` takes it.
        Step::Exec => Ok(()),
    }
}

fn namespaces(what: &str, error: &io::Error) -> Failure {
    failed(FailedStep::Namespaces, what, error)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn enter(start: &StartDirectory, sys: &mut dyn Sys) -> Result<(), Failure> {
    let (dir, result) = match start {
        StartDirectory::Home(dir) => {
            (dir, sys.change_directory(dir).or_else(|_| sys.change_directory(b"/")))
        }
        StartDirectory::Asked(dir) => (dir, sys.change_directory(dir)),
    };
    let what = || format!("cannot change directory to {}", shown(dir));
    result.map_err(|e| failed(FailedStep::WorkingDirectory, what(), &e))
}

fn finish_id_mapper(sys: &mut dyn Sys) -> Result<(), Failure> {
    match sys.finish_id_mapper() {
        Ok(true) => Ok(()),
        // Its own report or newuidmap's words on stderr have said why.
        Ok(false) => Err(refused(FailedStep::Namespaces, "mapping users or groups failed")),
        Err(e) => Err(namespaces("waitpid failed", &e)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::idmap::IdRange;
    use crate::namespace::kind::Kind;

    const EPERM: i32 = 1;
    const ENOENT: i32 = 2;
    const EINVAL: i32 = 22;

    /// Records the calls; those that begin with `fails` return the errno.
    struct Recorder {
        calls: Vec<String>,
        fails: (&'static str, i32),
    }

    impl Recorder {
        fn call(&mut self, text: String) -> io::Result<()> {
            let fails = !self.fails.0.is_empty() && text.starts_with(self.fails.0);
            self.calls.push(text);
            if fails { Err(io::Error::from_raw_os_error(self.fails.1)) } else { Ok(()) }
        }
    }

    impl Sys for Recorder {
        fn become_user(&mut self, credentials: &Credentials) -> io::Result<()> {
            self.call(format!("become {}", credentials.uid))
        }
        fn unshare(&mut self, kinds: Kinds) -> io::Result<()> {
            self.call(format!("unshare {kinds:?}"))
        }
        fn start_id_mapper(&mut self, maps: &IdMaps) -> io::Result<()> {
            self.call(format!("mapper {}", idmap::lines(&maps.users).trim()))
        }
        fn finish_id_mapper(&mut self) -> io::Result<bool> {
            Ok(self.call("mapped".into()).is_ok())
        }
        fn write_proc(&mut self, file: &str, text: &str) -> Result<(), WriteError> {
            self.call(format!("open {file}")).map_err(WriteError::Open)?;
            self.call(format!("write {}", text.trim())).map_err(WriteError::Write)
        }
        fn fork(&mut self, kill_child: Option<u8>) -> io::Result<()> {
            self.call(format!("fork {kill_child:?}"))
        }
        fn set_propagation(&mut self, path: &[u8], how: Propagation) -> io::Result<()> {
            self.call(format!("propagation {} {how:?}", shown(path)))
        }
        fn mount_proc(&mut self, dir: &[u8]) -> io::Result<()> {
            self.call(format!("proc {}", shown(dir)))
        }
        fn change_root(&mut self, dir: &[u8]) -> io::Result<()> {
            self.call(format!("root {}", shown(dir)))
        }
        fn change_directory(&mut self, dir: &[u8]) -> io::Result<()> {
            self.call(format!("cd {}", shown(dir)))
        }
        fn drop_groups(&mut self) -> io::Result<()> {
            self.call("groups".into())
        }
        fn set_group(&mut self, gid: u32) -> io::Result<()> {
            self.call(format!("gid {gid}"))
        }
        fn set_user(&mut self, uid: u32) -> io::Result<()> {
            self.call(format!("uid {uid}"))
        }
        fn keep_capabilities(&mut self) -> io::Result<()> {
            self.call("caps".into())
        }
        fn exec(&mut self) -> io::Error {
            self.calls.push("exec".into());
            io::Error::from_raw_os_error(ENOENT)
        }
    }

    fn run_with(steps: &[Step], fails: (&'static str, i32)) -> (Vec<String>, Failure) {
        let mut recorder = Recorder { calls: Vec::new(), fails };
        let subject = Subject { user: "core", program: "prog" };
        let failure = run(steps, &subject, &mut recorder);
        (recorder.calls, failure)
    }

    fn all_steps() -> Vec<Step> {
        let credentials = Credentials { uid: 7, gid: 8, groups: vec![] };
        let one = IdRange::single(0, 7);
        vec![
            Step::BecomeUser(credentials),
            Step::EnterDirectory(StartDirectory::Home(b"/home/x".to_vec())),
            Step::StartIdMapper(IdMaps { users: vec![one], groups: vec![] }),
            Step::Unshare(Kinds::NONE.with(Kind::User)),
            Step::FinishIdMapper,
            Step::ClockOffset(Clock::Boottime, -9),
            Step::Fork { kill_child: Some(9) },
            Step::MapUser(one),
            Step::ControlSetgroups(SetGroups::Deny),
            Step::Propagate(Propagation::Slave),
            Step::ChangeRoot(b"/r".to_vec()),
            Step::ChangeDirectory(b"/".to_vec()),
            Step::MountProc { dir: b"/proc".to_vec(), make_private: true },
            Step::SetGroup(5),
            Step::SetUser(6),
            Step::KeepCapabilities,
            Step::Exec,
        ]
    }

    #[test]
    fn steps_become_calls_in_their_order() {
        let (calls, failure) = run_with(&all_steps(), ("", 0));
        let expected = "become 7|cd /home/x|mapper 0 7 1|unshare {User}|mapped|open timens_offsets|\
            write 7 -9 0|fork Some(9)|open uid_map|write 0 7 1|open setgroups|write deny|\
            propagation / Slave|root /r|cd /|propagation /proc Private|proc /proc|groups|gid 5|uid 6|\
            caps|exec";
        assert_eq!(calls.join("|"), expected);
        assert_eq!(failure.step, FailedStep::Exec);
        assert_eq!(failure.message, "failed to execute prog: No such file or directory");
    }

    #[test]
    fn a_failed_step_is_the_last_and_reads_as_in_util_linux() {
        let not_permitted = "Operation not permitted";
        for (call, message) in [
            ("become", "cannot become user core"),
            ("unshare", "unshare failed"),
            ("fork", "fork failed"),
            ("open uid_map", "cannot open /proc/self/uid_map"),
            ("write 0 7", "write failed /proc/self/uid_map"),
            ("open timens", "failed to open /proc/self/timens_offsets"),
            ("write deny", "write failed /proc/self/setgroups"),
            ("propagation / ", "cannot change root filesystem propagation"),
            ("propagation /proc", "cannot change /proc filesystem propagation"),
            ("root", "cannot change root directory to '/r'"),
            ("proc", "mount /proc failed"),
            ("groups", "setgroups failed"),
            ("gid", "setgid failed"),
            ("uid", "setuid failed"),
        ] {
            let fails = if call == "proc" { "proc " } else { call };
            let (calls, failure) = run_with(&all_steps(), (fails, EPERM));
            assert_eq!(failure.message, format!("{message}: {not_permitted}"), "{call}");
            assert_eq!(failure.errno, EPERM);
            assert!(calls.last().unwrap().starts_with(fails), "{calls:?}");
        }
    }

    #[test]
    fn some_failures_do_not_matter() {
        for (call, errno) in
            [("propagation /proc", EINVAL), ("open setgroups", ENOENT), ("cd /home", EPERM)]
        {
            let (calls, _) = run_with(&all_steps(), (call, errno));
            assert_eq!(calls.last().unwrap(), "exec", "{call}");
        }
    }

    #[test]
    fn a_directory_that_was_asked_for_must_exist() {
        let asked = Step::EnterDirectory(StartDirectory::Asked(b"/no".to_vec()));
        let (calls, failure) = run_with(&[asked], ("cd", ENOENT));
        assert_eq!(calls, ["cd /no"]);
        assert_eq!(failure.step, FailedStep::WorkingDirectory);
    }
}
