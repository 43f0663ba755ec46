//! A plan in words: what happens, step by step, and what each step isolates.

mod run;

use std::fmt::Write;

use super::enter::{Id, KindFile};
use super::idmap::{self, IdRange};
use super::kind::{Kind, Kinds};
use super::plan::{Binds, Clock, Handle, IdMaps, Parent, StartDirectory, Step};
use super::spec::{Propagation, SetGroups};

/// The plan as numbered lines, each ended by a newline; `program` is what the
/// last step runs. Control characters are made harmless.
pub fn render(steps: &[Step], program: &str) -> String {
    let width = steps.len().to_string().len();
    let mut text = String::new();
    for (number, step) in steps.iter().enumerate() {
        let (what, details) = (what(step, program), details(step));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:>width$}. {}", number + 1, harmless(&what));
        for detail in details {
            let _ = writeln!(text, "{:width$}    - {}", "", harmless(&detail));
        }
    }
    text
}

fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn what(step: &Step, program: &str) -> String {
    match step {
        Step::Confine(_) => "join a control group with these limits".to_owned(),
        Step::BecomeUser(who) => {
            let groups: Vec<String> = who.groups.iter().map(u32::to_string).collect();
            let (uid, gid, groups) = (who.uid, who.gid, groups.join(","));
            format!("become user {uid}, group {gid}, supplementary groups {groups}")
        }
        Step::EnterDirectory(start) => start_in(start),
        Step::CheckTarget(pid) => format!("check that process {pid} may be looked at"),
        Step::Open(handle, path) => format!("open {}: {}", handle_name(*handle), shown(path)),
        Step::FollowContext(pid) => format!("take the SELinux context of process {pid}"),
        Step::HoldTarget { pid, kinds } => {
            format!("keep hold of process {pid}, for its namespaces: {}", names(*kinds))
        }
        Step::CheckStarted { .. } => "check that it is still the same process".to_owned(),
        Step::OpenCgroup(pid) => format!("open the process list of the cgroup of process {pid}"),
        Step::OpenParentUser(_) => "open the user namespace that owns it".to_owned(),
        Step::OpenSocketNamespace { pid, socket } => {
            format!("open the network namespace of socket {socket} of process {pid}")
        }
        Step::TryDropGroups => "drop the supplementary groups, if that is allowed".to_owned(),
        Step::TryJoin(kinds) => {
            format!("join with the present privileges, where they suffice: {}", names(*kinds))
        }
        Step::Join(kinds) => format!("join what is not joined yet of: {}", names(*kinds)),
        Step::RememberDirectory => "remember the working directory".to_owned(),
        Step::EnterRoot => "make the open root directory the root".to_owned(),
        Step::OpenDirectoryInside(dir) => format!("open the directory {} inside", shown(dir)),
        Step::ReturnToDirectory => "go to the open working directory".to_owned(),
        Step::TakeEnvironment => "take the target's environment variables".to_owned(),
        Step::MoveToCgroup => "move into that cgroup".to_owned(),
        other => creation(other, program),
    }
}

fn creation(step: &Step, program: &str) -> String {
    match step {
        Step::StartConnector => {
            "start a process outside that will connect the new network namespace".to_owned()
        }
        Step::FinishConnector => "let it make the connection, and wait for it".to_owned(),
        Step::LoopbackUp => "set the loopback device up".to_owned(),
        Step::StartBinder(files) => {
            format!("start a process outside that will bind {}", bound(files))
        }
        Step::StartIdMapper(maps) => {
            format!("start a process outside that will write the id maps ({})", mapped(maps))
        }
        Step::Unshare(kinds) => {
            let flags: Vec<_> = kinds.iter().map(Kind::clone_name).collect();
            format!("unshare({}): new namespaces", flags.join("|"))
        }
        Step::FinishIdMapper => "let it write them, and wait for it".to_owned(),
        Step::FinishBinder => "let it bind the files, and wait for it".to_owned(),
        Step::Bind(files) => format!("bind {}", bound(files)),
        Step::ClockOffset(clock, seconds) => {
            let name = match clock {
                Clock::Monotonic => "monotonic",
                Clock::Boottime => "boot time",
            };
            format!("shift the {name} clock by {seconds} s")
        }
        Step::Fork(Parent { leaves: true, .. }) => {
            "fork: go on in a child, while the parent ends".to_owned()
        }
        Step::Fork(_) => "fork: go on in a child, while the parent waits".to_owned(),
        Step::MapUser(range) => format!("map users: {}", ids(&[*range])),
        Step::MapGroup(range) => format!("map groups: {}", ids(&[*range])),
        Step::ControlSetgroups(SetGroups::Deny) => "deny setgroups(2) for good".to_owned(),
        Step::ControlSetgroups(SetGroups::Allow) => "allow setgroups(2)".to_owned(),
        other => setting_up(other, program),
    }
}

fn setting_up(step: &Step, program: &str) -> String {
    match step {
        Step::SetHostname(name) => format!("make {name} the host name"),
        Step::Propagate(how) => format!("make all mounts {}", propagation(*how)),
        Step::ShowNameServers { of, at } => format!("show {} as {}", shown(of), shown(at)),
        Step::ChangeRoot(dir) => format!("make {} the root directory", shown(dir)),
        Step::ChangeDirectory(dir) => format!("go to directory {}", shown(dir)),
        Step::MountProc { dir, .. } => format!("mount a new proc on {}", shown(dir)),
        Step::MountBinfmt(dir) => format!("mount a new binfmt_misc on {}", shown(dir)),
        Step::LoadInterpreter { dir, line } => {
            format!("register the interpreter {} in {}", shown(line), shown(dir))
        }
        Step::SetGroup(gid) => format!("become group {gid}, without supplementary groups"),
        Step::SetUser(uid) => format!("become user {uid}"),
        Step::BecomeOwner { uid, gid } => {
            format!("become the owner of what is made: group {gid}, user {uid}")
        }
        Step::TakeIdentity { uid, gid } => identity(*uid, *gid),
        Step::KeepCapabilities => "keep the capabilities beyond the exec".to_owned(),
        Step::Hold => "stay as the process that holds the namespaces".to_owned(),
        other => run::what(other).unwrap_or_else(|| format!("execute {program}")),
    }
}

/// What a step brings beyond itself.
fn details(step: &Step) -> Vec<String> {
    match step {
        Step::Confine(limits) => limits.words(),
        Step::Unshare(kinds) => kinds.iter().map(isolates).collect(),
        Step::FinishConnector => vec![
            "a pair of devices, one of them inside, with addresses and routes".to_owned(),
            "what goes out gets the machine's address; nothing comes in unasked".to_owned(),
        ],
        Step::ShowNameServers { .. } => {
            vec!["the machine's own name server answers the machine alone".to_owned()]
        }
        Step::StartIdMapper(_) => vec!["more than one id takes privilege outside".to_owned()],
        Step::Fork(parent) => stays_behind(parent),
        Step::MountProc { .. } => vec!["shows the processes of the PID namespace".to_owned()],
        Step::ControlSetgroups(SetGroups::Deny) => {
            vec!["without privilege only then groups may be mapped".to_owned()]
        }
        Step::Propagate(Propagation::Private) => {
            vec!["mounts and unmounts no longer reach the other side".to_owned()]
        }
        other => run::details(other),
    }
}

fn isolates(kind: Kind) -> String {
    let name = kind.option();
    let later = match kind {
        Kind::Pid | Kind::Time => " (of the children)",
        _ => "",
    };
    format!("{name}: {}{later}, {}", kind.isolates(), kind.manual())
}

fn stays_behind(parent: &Parent) -> Vec<String> {
    let mut all = Vec::new();
    match &parent.binds {
        Binds::None => {}
        Binds::ByBinder => all.push("the parent lets the files be bound".to_owned()),
        Binds::Itself(files) => all.push(format!("the parent binds {}", bound(files))),
    }
    if let Some(signal) = parent.kill_child {
        all.push(format!("the child gets signal {signal} when the parent dies"));
    }
    if parent.forward_signals {
        all.push("the parent passes SIGTERM and SIGINT on".to_owned());
    }
    all
}

fn start_in(start: &StartDirectory) -> String {
    match start {
        StartDirectory::Present => "stay in the present directory".to_owned(),
        StartDirectory::Home(dir) => format!("start in the home {}, or else in /", shown(dir)),
        StartDirectory::Caller { dir, home } => {
            format!("start in {}, or else in the home {}, or else in /", shown(dir), shown(home))
        }
        StartDirectory::Asked(dir) => format!("start in {}", shown(dir)),
    }
}

fn handle_name(handle: Handle) -> String {
    match handle {
        Handle::Namespace(kind) => format!("the {} namespace", kind.option()),
        Handle::Root => "the root directory".to_owned(),
        Handle::Directory => "the working directory".to_owned(),
        Handle::Environment => "the environment".to_owned(),
        Handle::Process => "the owner's directory".to_owned(),
    }
}

fn names(kinds: Kinds) -> String {
    let all: Vec<_> = kinds.iter().map(Kind::option).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn bound(files: &[KindFile]) -> String {
    let one =
        |file: &KindFile| format!("the {} namespace to {}", file.kind.option(), shown(&file.path));
    files.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn mapped(maps: &IdMaps) -> String {
    let part = |name: &str, ranges: &[IdRange]| {
        (!ranges.is_empty()).then(|| format!("{name} {}", ids(ranges)))
    };
    let parts = [part("users", &maps.users), part("groups", &maps.groups)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// `INNER:OUTER:COUNT`, as the options write it.
fn ids(ranges: &[IdRange]) -> String {
    let lines = idmap::lines(ranges);
    let one = |line: &str| line.replace(' ', ":");
    lines.lines().map(one).collect::<Vec<_>>().join(", ")
}

const fn propagation(how: Propagation) -> &'static str {
    match how {
        Propagation::Slave => "slaves of those outside",
        Propagation::Private => "private",
        Propagation::Shared => "shared",
        Propagation::Unchanged => "stay as they are",
    }
}

fn identity(uid: Option<Id>, gid: Option<Id>) -> String {
    let one = |what: &str, id: Id| match id {
        Id::Number(number) => format!("{what} {number}"),
        Id::Follow => format!("the {what} of the target"),
    };
    let group = gid.map(|id| format!("{}, without supplementary groups", one("group", id)));
    let parts: Vec<String> = group.into_iter().chain(uid.map(|id| one("user", id))).collect();
    format!("become {}", parts.join(", then "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::plan::Credentials;

    #[test]
    fn the_example_of_the_article_in_words() {
        let kinds = [Kind::User, Kind::Pid, Kind::Mount].into_iter().collect();
        let steps = [
            Step::BecomeUser(Credentials { uid: 1000, gid: 1000, groups: vec![1000, 27] }),
            Step::EnterDirectory(StartDirectory::Home(b"/home/core".to_vec())),
            Step::Unshare(kinds),
            Step::Fork(Parent::default()),
            Step::MapUser(IdRange::single(0, 1000)),
            Step::ControlSetgroups(SetGroups::Deny),
            Step::MapGroup(IdRange::single(0, 1000)),
            Step::Propagate(Propagation::Private),
            Step::MountProc { dir: b"/proc".to_vec(), make_private: false },
            Step::Exec,
        ];
        let expected = " 1. become user 1000, group 1000, supplementary groups 1000,27
 2. start in the home /home/core, or else in /
 3. unshare(CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWUSER): new namespaces
      - mount: mount points, mount_namespaces(7)
      - pid: process ids (of the children), pid_namespaces(7)
      - user: user and group ids, capabilities, user_namespaces(7)
 4. fork: go on in a child, while the parent waits
 5. map users: 0:1000:1
 6. deny setgroups(2) for good
      - without privilege only then groups may be mapped
 7. map groups: 0:1000:1
 8. make all mounts private
      - mounts and unmounts no longer reach the other side
 9. mount a new proc on /proc
      - shows the processes of the PID namespace
10. execute bash
";
        assert_eq!(render(&steps, "bash"), expected);
    }

    #[test]
    fn names_of_the_guest_cannot_drive_the_terminal() {
        let text = render(&[Step::ChangeRoot(b"\x1b[2J".to_vec())], "x");
        assert_eq!(text, "1. make \u{fffd}[2J the root directory\n");
    }
}
