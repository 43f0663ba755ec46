//! Which rows a listing has, and what hangs below what.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use super::{Filter, Namespace, Process, Snapshot};
use crate::namespace::kind::{Kind, Kinds};

/// What hangs below what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// Nothing: a list.
    None,
    /// Processes below their parents.
    Process,
    /// Namespaces below the user namespaces that own them.
    Owner,
    /// PID and user namespaces below their parents.
    Parent,
}

/// What is listed.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub kinds: Kinds,
    /// Only namespaces of this process.
    pub task: Option<u32>,
    /// Only those without processes.
    pub persistent: bool,
    /// The processes of this namespace instead of namespaces.
    pub namespace: Option<u64>,
    pub tree: Tree,
    /// What a row must be besides.
    pub filter: Option<Filter>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub namespace: Namespace,
    pub nprocs: usize,
    /// The process with the lowest number, or the one that is listed.
    pub process: Option<Process>,
    /// The row above, an earlier one.
    pub parent: Option<usize>,
}

/// A namespace that was asked for is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not found namespace: {0}")]
pub struct NotFound(u64);

/// A namespace and its processes.
struct Found<'a> {
    namespace: &'a Namespace,
    processes: Vec<&'a Process>,
}

/// The rows of `choice`, in the order in which lsns(8) makes them: what is
/// above comes before what hangs below it.
pub fn rows(snapshot: &Snapshot, choice: &Choice) -> Result<Vec<Row>, NotFound> {
    let all = unfiltered(snapshot, choice)?;
    Ok(match &choice.filter {
        Some(filter) => filter.apply(all, snapshot),
        None => all,
    })
}

fn unfiltered(snapshot: &Snapshot, choice: &Choice) -> Result<Vec<Row>, NotFound> {
    let found = found(snapshot, choice);
    let mut shown = Shown::default();
    if let Some(id) = choice.namespace {
        let found = found.get(&id).ok_or(NotFound(id))?;
        shown.show_processes(found, choice.tree);
        return Ok(shown.rows);
    }
    for (id, one) in &found {
        let has = |pid| one.processes.iter().any(|process| process.pid == pid);
        let wanted =
            choice.task.is_none_or(has) && (!choice.persistent || one.processes.is_empty());
        if wanted {
            shown.show_namespace(&found, *id, choice.tree);
        }
    }
    Ok(shown.rows)
}

/// By their numbers, which is how they are sorted.
fn found<'a>(snapshot: &'a Snapshot, choice: &Choice) -> BTreeMap<u64, Found<'a>> {
    let related = matches!(choice.tree, Tree::Owner | Tree::Parent);
    let wanted = |n: &&Namespace| choice.kinds.contains(n.kind) && (related || !n.is_ghost);
    let new = |namespace| Found { namespace, processes: Vec::new() };
    let mut all: BTreeMap<u64, Found<'_>> =
        snapshot.namespaces.iter().filter(wanted).map(|n| (n.id, new(n))).collect();
    for process in &snapshot.processes {
        for id in &process.namespaces {
            if let Some(found) = all.get_mut(id) {
                found.processes.push(process);
            }
        }
    }
    all
}

/// How deep rows hang: deeper than any real system, and a guest that claims
/// more must not make us write millions of blanks.
const DEEPEST: usize = 512;

/// The rows so far, and where things are in them.
#[derive(Default)]
struct Shown {
    rows: Vec<Row>,
    depths: Vec<usize>,
    namespaces: HashMap<u64, usize>,
    /// The last row of each process.
    processes: HashMap<u32, usize>,
}

impl Shown {
    fn show_namespace(&mut self, all: &BTreeMap<u64, Found<'_>>, id: u64, tree: Tree) {
        let related = |id: &u64| {
            let namespace = all[id].namespace;
            let owner = Some(namespace.owner).filter(|owner| all.contains_key(owner));
            match tree {
                Tree::Owner => owner,
                Tree::Parent => parent(all, namespace).or(owner),
                Tree::None | Tree::Process => None,
            }
        };
        for id in missing(id, related, |id| self.namespaces.contains_key(id)) {
            let found = &all[&id];
            let process = found.processes.iter().min_by_key(|process| process.pid).copied();
            let above = match tree {
                Tree::None => None,
                Tree::Process => process.and_then(|p| self.processes.get(&p.ppid)),
                Tree::Owner => self.namespaces.get(&found.namespace.owner),
                Tree::Parent => {
                    parent(all, found.namespace).and_then(|id| self.namespaces.get(&id))
                }
            };
            self.add(found, process, above.copied());
        }
    }

    fn show_processes(&mut self, found: &Found<'_>, tree: Tree) {
        let by_pid: HashMap<u32, &Process> = found.processes.iter().map(|p| (p.pid, *p)).collect();
        let above = |pid: &u32| {
            let parent = by_pid.get(pid)?.ppid;
            (tree == Tree::Process && by_pid.contains_key(&parent)).then_some(parent)
        };
        for process in &found.processes {
            for pid in missing(process.pid, above, |pid| self.processes.contains_key(pid)) {
                let parent = above(&pid).and_then(|parent| self.processes.get(&parent).copied());
                self.add(found, by_pid.get(&pid).copied(), parent);
            }
        }
    }

    fn add(&mut self, found: &Found<'_>, process: Option<&Process>, parent: Option<usize>) {
        let at = self.rows.len();
        self.namespaces.insert(found.namespace.id, at);
        if let Some(process) = process {
            self.processes.insert(process.pid, at);
        }
        let parent = parent.filter(|parent| self.depths[*parent] < DEEPEST);
        self.depths.push(parent.map_or(0, |parent| self.depths[parent] + 1));
        let (namespace, nprocs) = (found.namespace.clone(), found.processes.len());
        self.rows.push(Row { namespace, nprocs, process: process.cloned(), parent });
    }
}

/// `start` and what is above it as far as that is not yet `known`, from the
/// top; a circle, which only a broken snapshot has, is cut.
fn missing<T: Copy + Eq + Hash>(
    start: T,
    above: impl Fn(&T) -> Option<T>,
    known: impl Fn(&T) -> bool,
) -> Vec<T> {
    let (mut chain, mut seen) = (Vec::new(), HashSet::new());
    let mut next = Some(start);
    while let Some(one) = next.filter(|one| !known(one) && seen.insert(*one)) {
        chain.push(one);
        next = above(&one);
    }
    chain.reverse();
    chain
}

/// Only two kinds nest (`ioctl_ns(2)`).
fn parent(all: &BTreeMap<u64, Found<'_>>, namespace: &Namespace) -> Option<u64> {
    let nests = matches!(namespace.kind, Kind::Pid | Kind::User);
    Some(namespace.parent).filter(|id| nests && all.contains_key(id))
}

impl Row {
    /// The text of a column; several paths are apart by newlines.
    pub fn text(&self, column: super::Column, snapshot: &Snapshot) -> String {
        use super::Column;
        let of = |get: fn(&Process) -> String| self.process.as_ref().map(get).unwrap_or_default();
        let namespace = &self.namespace;
        match column {
            Column::Ns => namespace.id.to_string(),
            Column::Type => namespace.kind.proc_name().to_owned(),
            Column::Path => self.path(),
            Column::Nprocs => self.nprocs.to_string(),
            Column::Pid => of(|process| process.pid.to_string()),
            Column::Ppid => of(|process| process.ppid.to_string()),
            Column::Command => of(|process| process.command.clone()),
            // As lsns(8): a signed number.
            Column::Uid => self.uid().cast_signed().to_string(),
            Column::User => self.user().to_owned(),
            Column::Netnsid => self.net_id(),
            Column::Nsfs => self.bound(snapshot).join("\n"),
            Column::Pns => namespace.parent.to_string(),
            Column::Ons => namespace.owner.to_string(),
        }
    }

    fn path(&self) -> String {
        let kind = self.namespace.kind.proc_name();
        self.process.as_ref().map(|p| format!("/proc/{}/ns/{kind}", p.pid)).unwrap_or_default()
    }

    fn net_id(&self) -> String {
        match self.namespace.net_id.filter(|_| self.namespace.kind == Kind::Net) {
            Some(id @ 0..) => id.to_string(),
            Some(-1) => "unassigned".to_owned(),
            _ => String::new(),
        }
    }

    fn bound<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a str> {
        let name = format!("{}:[{}]", self.namespace.kind.proc_name(), self.namespace.id);
        let mut paths: Vec<&str> = Vec::new();
        for bound in snapshot.bound.iter().filter(|bound| bound.name == name) {
            if !paths.contains(&bound.path.as_str()) {
                paths.push(&bound.path);
            }
        }
        paths
    }

    /// Of a namespace without processes: who made it.
    fn uid(&self) -> u32 {
        self.process.as_ref().map_or(self.namespace.uid, |process| process.uid)
    }

    fn user(&self) -> &str {
        self.process.as_ref().map_or(&self.namespace.user, |process| &process.user)
    }
}
