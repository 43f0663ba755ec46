//! What the present user may see of the namespaces here, found as lsns(8)
//! finds it: in /proc, among open files, and where namespaces are bound.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::accounts::Accounts;
use super::failure::failed;
use super::net_id::NetIds;
use super::sys::{self, namespace_flag, namespace_maker};
use crate::namespace::kind::Kind;
use crate::namespace::listing::{Bound, Namespace, Process, Snapshot};
use crate::protocol::outcome::{FailedStep, Failure};

/// How much of a command line is told, as in lsns(8): a stdio buffer.
const LONGEST_COMMAND: u64 = 8192;

/// Kinds in the order in which lsns(8) looks at them.
const ORDER: [Kind; 8] =
    [Kind::Mount, Kind::Net, Kind::Pid, Kind::Uts, Kind::Ipc, Kind::User, Kind::Cgroup, Kind::Time];

/// Writes the [`Snapshot`] to stdout and ends this process; returns only why
/// it could not.
pub fn tell(command: &str) -> Failure {
    let told = snapshot(command).and_then(|snapshot| {
        let bytes = rmp_serde::to_vec_named(&snapshot).map_err(io::Error::other)?;
        File::from(rustix::stdio::stdout().try_clone_to_owned()?).write_all(&bytes)
    });
    match told {
        Ok(()) => sys::exit_now(0),
        Err(e) => failed(FailedStep::Namespaces, "cannot list the namespaces", &e),
    }
}

/// What may be seen; `command` is the command line of this process.
pub fn snapshot(command: &str) -> io::Result<Snapshot> {
    let mut found = Found::new(Own {
        pid: std::process::id(),
        uid: rustix::process::geteuid().as_raw(),
        command,
    });
    for pid in numbers("/proc")?.collect::<Vec<_>>() {
        found.read_process(pid);
    }
    found.read_bound();
    for namespace in std::mem::take(&mut found.related).into_values() {
        found.add_open(&namespace, By::Relation);
    }
    Ok(found.snapshot)
}

/// The entries of a directory that are numbers.
fn numbers(dir: &str) -> io::Result<impl Iterator<Item = u32>> {
    Ok(fs::read_dir(dir)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// This process, whose /proc still shows the agent's.
#[derive(Clone, Copy)]
struct Own<'a> {
    pid: u32,
    uid: u32,
    command: &'a str,
}

/// What has been found so far.
struct Found<'a> {
    own: Own<'a>,
    snapshot: Snapshot,
    /// Namespaces that are in it.
    known: HashSet<u64>,
    users: HashMap<u32, String>,
    net_ids: NetIds,
    /// The device of namespaces' files.
    device: Option<u64>,
    /// What namespaces of processes belong to, by number.
    related: HashMap<u64, OwnedFd>,
}

/// How a namespace was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Process,
    /// An open file, or a bound one.
    File,
    /// It is what a process's namespace belongs to.
    Relation,
}

impl<'a> Found<'a> {
    fn new(own: Own<'a>) -> Self {
        let metadata = ORDER
            .iter()
            .find_map(|kind| fs::metadata(format!("/proc/self/ns/{}", kind.proc_name())).ok());
        Self {
            own,
            snapshot: Snapshot::default(),
            known: HashSet::new(),
            users: HashMap::new(),
            net_ids: NetIds::open(),
            device: metadata.map(|metadata| metadata.dev()),
            related: HashMap::new(),
        }
    }

    /// A process that ends meanwhile, or is another's, is told as far as it
    /// goes.
    fn read_process(&mut self, pid: u32) {
        let Ok(metadata) = fs::metadata(format!("/proc/{pid}")) else { return };
        let Some(ppid) = parent_of(pid) else { return };
        let (uid, command) = if pid == self.own.pid {
            (self.own.uid, self.own.command.to_owned())
        } else {
            (metadata.uid(), command(pid))
        };
        let (user, namespaces) = (self.user(uid), Vec::new());
        let mut process = Process { pid, ppid, uid, user, command, namespaces };
        for kind in ORDER {
            let path = format!("/proc/{pid}/ns/{}", kind.proc_name());
            let Ok(id) = fs::metadata(&path).map(|metadata| metadata.ino()) else { continue };
            process.namespaces.push(id);
            if !self.known.contains(&id) {
                let file = File::open(&path).ok().map(OwnedFd::from);
                self.add(kind, id, file.as_ref(), By::Process);
            }
        }
        self.snapshot.processes.push(process);
        self.read_open_files(pid);
    }

    /// Namespaces that the process keeps by a descriptor, or by a socket.
    fn read_open_files(&mut self, pid: u32) {
        let dir = format!("/proc/{pid}/fd");
        let Ok(files) = numbers(&dir) else { return };
        for number in files {
            let path = format!("{dir}/{number}");
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let namespace = if Some(metadata.dev()) == self.device {
                if self.known.contains(&metadata.ino()) {
                    continue;
                }
                File::open(&path).ok().map(OwnedFd::from)
            } else if metadata.file_type().is_socket() {
                of_socket(pid, number)
            } else {
                None
            };
            if let Some(namespace) = namespace {
                self.add_open(&namespace, By::File);
            }
        }
    }

    fn read_bound(&mut self) {
        let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let table = String::from_utf8_lossy(&table).into_owned();
        for bound in table.lines().filter_map(bound) {
            let number = bound.name.split(['[', ']']).nth(1).and_then(|text| text.parse().ok());
            if number.is_some_and(|id: u64| !self.known.contains(&id))
                && let Ok(file) = File::open(&bound.path)
            {
                self.add_open(&file.into(), By::File);
            }
            self.snapshot.bound.push(bound);
        }
    }

    /// One whose kind only the kernel knows.
    fn add_open(&mut self, namespace: &OwnedFd, by: By) {
        let Ok(flag) = namespace_flag(namespace) else { return };
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.clone_flag() == flag) else {
            return;
        };
        let Some(id) = number(namespace) else { return };
        if !self.known.contains(&id) {
            self.add(kind, id, Some(namespace), by);
        }
    }

    /// With what it belongs to: of a process's namespace that waits, because
    /// it may be a process's itself.
    fn add(&mut self, kind: Kind, id: u64, file: Option<&OwnedFd>, by: By) {
        self.known.insert(id);
        let nests = matches!(kind, Kind::Pid | Kind::User);
        let parent = file.filter(|_| nests).and_then(|file| sys::parent_namespace(file).ok());
        let owner = file.and_then(|file| sys::parent_user_namespace(file).ok());
        // Only user namespaces tell who made them; lsns(8) says root of others.
        let uid = file.and_then(|file| namespace_maker(file).ok()).unwrap_or(0);
        let net = file.filter(|_| kind == Kind::Net);
        let namespace = Namespace {
            kind,
            id,
            parent: parent.as_ref().and_then(number).unwrap_or(0),
            owner: owner.as_ref().and_then(number).unwrap_or(0),
            net_id: net.and_then(|file| self.net_ids.of(file.as_raw_fd())),
            uid,
            user: self.user(uid),
            is_ghost: by == By::Relation,
        };
        self.snapshot.namespaces.push(namespace);
        for related in [parent, owner].into_iter().flatten() {
            match number(&related) {
                Some(id) if by == By::Process && !self.known.contains(&id) => {
                    self.related.insert(id, related);
                }
                Some(_) if by != By::Process => self.add_open(&related, by),
                _ => {}
            }
        }
    }

    fn user(&mut self, uid: u32) -> String {
        let name = || Accounts::of_system().name_of(uid).unwrap_or_else(|| uid.to_string());
        self.users.entry(uid).or_insert_with(name).clone()
    }
}

fn number(namespace: &OwnedFd) -> Option<u64> {
    rustix::fs::fstat(namespace).ok().map(|stat| stat.st_ino)
}

fn of_socket(pid: u32, number: u32) -> Option<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(pid.cast_signed())?, PidfdFlags::empty()).ok()?;
    let socket = pidfd_getfd(process, number.cast_signed(), PidfdGetfdFlags::empty()).ok()?;
    sys::socket_namespace(&socket).ok()
}

/// From `/proc/PID/stat`, whose second field may hold anything.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&stat).into_owned();
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The command line, or else the name.
fn command(pid: u32) -> String {
    let read = |name| {
        let mut text = Vec::new();
        let file = File::open(format!("/proc/{pid}/{name}")).ok()?;
        file.take(LONGEST_COMMAND).read_to_end(&mut text).ok()?;
        // The last byte ends the text.
        text.pop()?;
        text.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    read("cmdline").or_else(|| read("comm")).unwrap_or_default()
}

/// A line of mountinfo (`proc_pid_mountinfo(5)`), if it is about a namespace.
fn bound(line: &str) -> Option<Bound> {
    let (mount, system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, target) = (fields.next()?, fields.next()?);
    let is_namespace = system.split(' ').next() == Some("nsfs") && root.contains('[');
    is_namespace.then(|| Bound { name: root.to_owned(), path: unescaped(target) })
}

/// mountinfo writes blanks and the like as `\040`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let code = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = code.and_then(|code| u8::from_str_radix(code, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_namespaces_are_found_in_mountinfo() {
        let line = "77 24 0:4 net:[4026532000] /run/a\\040b rw shared:3 - nsfs nsfs rw";
        let expected = Bound { name: "net:[4026532000]".into(), path: "/run/a b".into() };
        assert_eq!(bound(line), Some(expected));
        assert_eq!(bound("24 1 0:21 / /proc rw - proc proc rw"), None);
        assert_eq!(bound("garbage"), None);
        assert_eq!(unescaped(r"\04 \\9é"), r"\04 \\9é");
    }

    #[test]
    fn this_process_is_one_of_its_namespaces() {
        let snapshot = snapshot("lsns -J").unwrap();
        let own: Vec<_> =
            snapshot.processes.iter().filter(|p| p.pid == std::process::id()).collect();
        assert_eq!((own.len(), own[0].command.as_str()), (1, "lsns -J"));
        assert_eq!(own[0].uid, rustix::process::geteuid().as_raw());
        let own = fs::metadata("/proc/self/ns/user").unwrap().ino();
        let found: Vec<_> = snapshot.namespaces.iter().filter(|n| n.id == own).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind, Kind::User);
    }
}
