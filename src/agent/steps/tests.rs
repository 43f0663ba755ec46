use super::*;
use crate::namespace::enter::Id;
use crate::namespace::idmap::IdRange;
use crate::namespace::kind::Kind;
use crate::namespace::plan::Handle;

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

impl Build for Recorder {
    fn build(&mut self, step: &Step) -> Result<(), BuildError> {
        let fails = |source| BuildError { what: "cannot do it".into(), source };
        self.call(format!("{step:?}")).map_err(fails)
    }
}

impl Enter for Recorder {
    fn check_target(&mut self, pid: u32) -> io::Result<()> {
        self.call(format!("check {pid}"))
    }
    fn open(&mut self, handle: Handle, path: &[u8]) -> io::Result<()> {
        self.call(format!("open {handle:?} {}", shown(path)))
    }
    fn hold_target(&mut self, pid: u32) -> io::Result<()> {
        self.call(format!("hold {pid}"))
    }
    fn started(&mut self, pid: u32) -> io::Result<u64> {
        self.call(format!("started {pid}")).map(|()| 4711)
    }
    fn join_held(&mut self, kinds: Kinds) -> io::Result<()> {
        self.call(format!("join held {kinds:?}"))
    }
    fn join_opened(&mut self, kind: Kind) -> io::Result<()> {
        self.call(format!("join {kind:?}"))
    }
    fn open_parent_user(&mut self, of: Kind) -> io::Result<()> {
        self.call(format!("parent of {of:?}"))
    }
    fn open_socket_namespace(&mut self, pid: u32, socket: u32) -> io::Result<()> {
        self.call(format!("socket {pid} {socket}"))
    }
    fn open_cgroup(&mut self, pid: u32) -> Result<(), (String, Option<io::Error>)> {
        self.call(format!("cgroup {pid}")).map_err(|e| ("cgroup".into(), Some(e)))
    }
    fn move_to_cgroup(&mut self) -> io::Result<()> {
        self.call("move".into())
    }
    fn follow_context(&mut self, pid: u32) -> Result<(), ContextError> {
        self.call(format!("context {pid}")).map_err(ContextError::Read)
    }
    fn go_to(&mut self, handle: Handle) -> io::Result<()> {
        self.call(format!("go to {handle:?}"))
    }
    fn take_environment(&mut self) -> io::Result<()> {
        self.call("environment".into())
    }
    fn owner(&mut self) -> io::Result<(u32, u32)> {
        self.call("owner".into()).map(|()| (41, 42))
    }
}

impl Sys for Recorder {
    fn confine(&mut self) -> io::Result<()> {
        self.call("confine".into())
    }
    fn start_connector(&mut self) -> io::Result<()> {
        self.call("start connector".into())
    }
    fn finish_connector(&mut self) -> io::Result<bool> {
        self.call("connect".into()).map(|()| true)
    }
    fn set_loopback_up(&mut self) -> io::Result<()> {
        self.call("loopback".into())
    }
    fn show_file(&mut self, of: &[u8], at: &[u8]) -> io::Result<()> {
        self.call(format!("show {} at {}", shown(of), shown(at)))
    }
    fn become_user(&mut self, credentials: &Credentials) -> io::Result<()> {
        self.call(format!("become {}", credentials.uid))
    }
    fn unshare(&mut self, kinds: Kinds) -> io::Result<()> {
        self.call(format!("unshare {kinds:?}"))
    }
    fn lacking(&self, kinds: Kinds) -> Kinds {
        kinds.iter().filter(|kind| *kind == Kind::Time).collect()
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
    fn start_binder(&mut self, files: &[KindFile]) -> io::Result<()> {
        self.call(format!("binder {}", files.len()))
    }
    fn finish_binder(&mut self) -> io::Result<bool> {
        Ok(self.call("bound".into()).is_ok())
    }
    fn bind(&mut self, file: &KindFile) -> io::Result<()> {
        self.call(format!("bind {}", shown(&file.path)))
    }
    fn mount_binfmt(&mut self, dir: &[u8]) -> io::Result<()> {
        self.call(format!("binfmt {}", shown(dir)))
    }
    fn register_interpreter(&mut self, _: &[u8], line: &[u8]) -> Result<(), WriteError> {
        self.call(format!("register {}", shown(line))).map_err(WriteError::Write)
    }
    fn fork(&mut self, parent: &Parent) -> io::Result<()> {
        self.call(format!("fork {:?}", parent.kill_child))
    }
    fn set_hostname(&mut self, name: &str) -> io::Result<()> {
        self.call(format!("hostname {name}"))
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
        Step::Fork(Parent { kill_child: Some(9), ..Parent::default() }),
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
        ("gid", "setgid() failed"),
        ("uid", "setuid() failed"),
    ] {
        let fails = if call == "proc" { "proc " } else { call };
        let (calls, failure) = run_with(&all_steps(), (fails, EPERM));
        assert_eq!(failure.message, format!("{message}: {not_permitted}"), "{call}");
        assert_eq!(failure.errno, EPERM);
        assert!(calls.last().unwrap().starts_with(fails), "{calls:?}");
    }
}

#[test]
fn a_kernel_without_a_kind_is_told() {
    let message = |kinds: &[Kind]| {
        let steps = [Step::Unshare(kinds.iter().copied().collect())];
        run_with(&steps, ("unshare", EINVAL)).1.message
    };
    let plain = "unshare failed: Invalid argument";
    assert_eq!(message(&[Kind::Net]), plain);
    let told = format!("{plain}: this kernel has no time namespaces");
    assert_eq!(message(&[Kind::Net, Kind::Time]), told);
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
fn the_callers_directory_is_only_a_wish() {
    let start = StartDirectory::Caller { dir: b"/mnt/src".to_vec(), home: b"/home/x".to_vec() };
    let steps = [Step::EnterDirectory(start), Step::Exec];
    assert_eq!(run_with(&steps, ("none", ENOENT)).0, ["cd /mnt/src", "exec"]);
    assert_eq!(run_with(&steps, ("cd /mnt", EPERM)).0, ["cd /mnt/src", "cd /home/x", "exec"]);
    let (calls, failure) = run_with(&steps, ("cd", ENOENT));
    assert_eq!(calls, ["cd /mnt/src", "cd /home/x", "cd /"]);
    assert_eq!(failure.step, FailedStep::WorkingDirectory);
}

#[test]
fn a_directory_that_was_asked_for_must_exist() {
    let asked = Step::EnterDirectory(StartDirectory::Asked(b"/no".to_vec()));
    let (calls, failure) = run_with(&[asked], ("cd", ENOENT));
    assert_eq!(calls, ["cd /no"]);
    assert_eq!(failure.step, FailedStep::WorkingDirectory);
}

fn entering_steps() -> Vec<Step> {
    let two = Kinds::NONE.with(Kind::User).with(Kind::Net);
    let net = Kinds::NONE.with(Kind::Net);
    vec![
        Step::CheckTarget(9),
        Step::Open(Handle::Namespace(Kind::Uts), b"/u".to_vec()),
        Step::HoldTarget { pid: 9, kinds: two },
        Step::TryDropGroups,
        Step::TryJoin(net.with(Kind::Uts)),
        Step::Join(two.with(Kind::Uts)),
        Step::RememberDirectory,
        Step::EnterRoot,
        Step::ReturnToDirectory,
        Step::TakeEnvironment,
        Step::TakeIdentity { uid: Some(Id::Follow), gid: Some(Id::Number(5)) },
        Step::Exec,
    ]
}

#[test]
fn namespaces_are_joined_in_two_passes() {
    let common = "check 9|open Namespace(Uts) /u|hold 9|groups|";
    let rest = "open Directory .|go to Root|root .|cd /|go to Directory|environment|owner|\
        groups|gid 5|uid 41|exec";
    let (calls, _) = run_with(&entering_steps(), ("", 0));
    let joined = "join held {Net}|join Uts|join held {User}|";
    assert_eq!(calls.join("|"), format!("{common}{joined}{rest}"));
    // Without the privilege of the user namespace the others come after it.
    let (calls, _) = run_with(&entering_steps(), ("join held {Net}", EPERM));
    let joined = "join held {Net}|join Uts|join held {Net, User}|";
    assert_eq!(calls.join("|"), format!("{common}{joined}{rest}"));
}

#[test]
fn what_cannot_be_entered_is_told_in_nsenters_words() {
    let not_permitted = "Operation not permitted";
    for (call, message) in [
        ("check", "stat of /proc/9/ns/user failed"),
        ("open Name", "cannot open /u"),
        ("join held", "reassociate to namespaces failed"),
        ("join Uts", "reassociate to namespace 'ns/uts' failed"),
        ("go to Root", "change directory by root file descriptor failed"),
        ("root", "chroot failed"),
        ("go to Dir", "change directory by working directory file descriptor failed"),
        ("gid", "setgid() failed"),
        ("uid", "setuid() failed"),
    ] {
        let (_, failure) = run_with(&entering_steps(), (call, EPERM));
        assert_eq!(failure.message, format!("{message}: {not_permitted}"), "{call}");
    }
}

#[test]
fn a_target_that_cannot_be_held_is_opened_kind_by_kind() {
    let (calls, _) = run_with(&entering_steps(), ("hold", EPERM));
    let text = calls.join("|");
    let opened = "hold 9|open Namespace(User) /proc/9/ns/user|open Namespace(Net) /proc/9/ns/net|";
    assert!(text.contains(opened), "{text}");
    assert!(text.contains("|join Uts|join Net|join User|"), "{text}");
}

#[test]
fn groups_must_be_dropped_once_at_least() {
    let (_, failure) = run_with(&entering_steps(), ("groups", EPERM));
    assert_eq!(failure.message, "setgroups failed: Operation not permitted");
}

#[test]
fn a_process_that_is_another_by_now_is_not_entered() {
    let steps = |started| {
        let kinds = Kinds::NONE.with(Kind::Net);
        [
            Step::HoldTarget { pid: 9, kinds },
            Step::CheckStarted { pid: 9, started },
            Step::Join(kinds),
            Step::SetHostname("x".into()),
        ]
    };
    let (calls, _) = run_with(&steps(4711), ("", 0));
    assert_eq!(calls, ["hold 9", "started 9", "join held {Net}", "hostname x", "exec"]);
    let (calls, failure) = run_with(&steps(4712), ("", 0));
    assert_eq!(calls, ["hold 9", "started 9"]);
    assert_eq!(failure.message, "process 9 is another one by now");
}
