//! The guest's namespaces, beside this host's own lsns(8).

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use nsvm::app::listing;
use nsvm::namespace::kind::{Kind, Kinds};
use nsvm::namespace::listing::{
    Art, Choice, Column, Format, Process, Snapshot, Style, Tree, render, rows,
};
use nsvm::protocol::request::ListRequest;

use crate::client::{Agent, Link, within_deadline};
use crate::host::{Apart, lsns};
use crate::needs_root;

fn request(user: &str) -> ListRequest {
    ListRequest { user: Some(user.parse().unwrap()), command: "lsns -x".into() }
}

fn listed(link: &Link, user: &str) -> Snapshot {
    let (connection, request) = (link.connection(), request(user));
    within_deadline(move || listing::ask(connection, request)).unwrap().unwrap()
}

fn number(of: &Apart, kind: Kind) -> u64 {
    std::fs::metadata(of.link(kind)).unwrap().ino()
}

fn table(snapshot: &Snapshot, task: u32, tree: Tree) -> String {
    let kinds: Kinds = Kind::ALL.into_iter().collect();
    let choice =
        Choice { kinds, task: Some(task), persistent: false, namespace: None, tree, filter: None };
    let format = Format {
        columns: ["NS", "TYPE", "PATH", "PID", "PPID", "UID", "USER", "COMMAND"]
            .map(|name| Column::by_name(name).unwrap())
            .to_vec(),
        headings: true,
        style: Style::Aligned,
        tree,
        nowrap: false,
        width: None,
        art: Art::Ascii,
    };
    render(snapshot, &rows(snapshot, &choice).unwrap(), &format)
}

/// What lsns prints of one process: other tests' processes come and go.
fn theirs(task: u32) -> String {
    let columns = "NS,TYPE,PATH,PID,PPID,UID,USER,COMMAND";
    let mut command = Command::new("lsns");
    command.args(["-l", "-o", columns, "-p", &task.to_string()]).env("LC_ALL", "C.UTF-8");
    String::from_utf8(lsns(command).stdout).unwrap()
}

#[test]
fn root_sees_what_lsns_sees() {
    needs_root!();
    let apart = Apart::start();
    let agent = Agent::start();
    let link = agent.attach();
    let snapshot = listed(&link, "root");
    let process = snapshot.processes.iter().find(|p| p.pid == apart.id()).unwrap();
    assert_eq!((process.command.as_str(), process.uid), ("sleep 600", 0));
    assert_eq!((process.user.as_str(), process.ppid), ("root", std::process::id()));
    for kind in Kind::ALL {
        assert!(process.namespaces.contains(&number(&apart, kind)), "{kind:?}");
    }
    let net = snapshot.namespaces.iter().find(|n| n.id == number(&apart, Kind::Net)).unwrap();
    assert_eq!((net.kind, net.net_id), (Kind::Net, Some(-1)));
    assert_eq!(net.owner, number(&apart, Kind::User));
    let ids: BTreeMap<u64, usize> =
        snapshot.namespaces.iter().fold(BTreeMap::new(), |mut all, n| {
            *all.entry(n.id).or_default() += 1;
            all
        });
    assert!(ids.values().all(|count| *count == 1), "{ids:?}");
    let theirs = theirs(apart.id());
    assert_eq!(theirs.lines().count(), 9, "{theirs}");
    assert_eq!(table(&snapshot, apart.id(), Tree::None), theirs);
}

#[test]
fn others_see_only_their_own() {
    needs_root!();
    let apart = Apart::start();
    let agent = Agent::start();
    let link = agent.attach();
    let snapshot = listed(&link, "nobody");
    let process = snapshot.processes.iter().find(|p| p.pid == apart.id()).unwrap();
    assert_eq!((process.namespaces.len(), process.command.as_str()), (0, "sleep 600"));
    // Not even an own process is missing, as in lsns(8).
    let looks = |p: &&Process| p.ppid == agent.pid() && p.command == "lsns -x";
    let own: Vec<_> = snapshot.processes.iter().filter(looks).collect();
    assert_eq!((own.len(), own[0].user.as_str()), (1, "nobody"));
    assert_eq!(own[0].namespaces.len(), Kind::ALL.len());
    let seen = snapshot.namespaces.iter().filter(|n| own[0].namespaces.contains(&n.id));
    assert_eq!(seen.count(), Kind::ALL.len());
    let net = number(&apart, Kind::Net);
    assert!(snapshot.namespaces.iter().all(|namespace| namespace.id != net));
}

#[test]
fn a_namespace_without_processes_is_found_by_who_keeps_it_open() {
    needs_root!();
    let apart = Apart::start();
    let file = File::open(format!("/proc/{}/ns/uts", apart.id())).unwrap();
    let (id, pid) = (file.metadata().unwrap().ino(), apart.id());
    drop(apart);
    let agent = Agent::start();
    let link = agent.attach();
    let snapshot = listed(&link, "root");
    assert!(snapshot.processes.iter().all(|process| process.pid != pid));
    let kept = snapshot.namespaces.iter().find(|namespace| namespace.id == id);
    let kept = kept.unwrap_or_else(|| panic!("descriptor {}", file.as_raw_fd()));
    assert_eq!((kept.kind, kept.is_ghost, kept.user.as_str()), (Kind::Uts, false, "root"));
    let missing = within_deadline({
        let connection = link.connection();
        move || listing::ask(connection, request("no-such-user"))
    });
    assert!(missing.unwrap().is_err());
}
