//! A small system, listed in each form.

use super::*;
use crate::namespace::kind::Kinds;

fn namespace(kind: Kind, id: u64, parent: u64, owner: u64) -> Namespace {
    let net_id = (kind == Kind::Net).then_some(-1);
    let user = "core".to_owned();
    Namespace { kind, id, parent, owner, net_id, uid: 1000, user, is_ghost: false }
}

fn process(pid: u32, ppid: u32, command: &str, namespaces: &[u64]) -> Process {
    let (uid, user, command) = (0, "root".to_owned(), command.to_owned());
    Process { pid, ppid, uid, user, command, namespaces: namespaces.to_vec() }
}

/// Init, a container of it, and a network namespace that only a file keeps.
fn system() -> Snapshot {
    let bound = |path: &str| Bound { name: "net:[30]".into(), path: path.into() };
    Snapshot {
        processes: vec![
            process(1, 0, "/sbin/init a\tb", &[4_026_531_836, 4_026_531_837]),
            process(7, 1, "sleep 9", &[20, 10]),
            process(8, 7, "sh", &[20, 10]),
        ],
        namespaces: vec![
            namespace(Kind::Pid, 4_026_531_836, 0, 4_026_531_837),
            namespace(Kind::User, 4_026_531_837, 0, 0),
            namespace(Kind::Pid, 20, 4_026_531_836, 10),
            namespace(Kind::User, 10, 4_026_531_837, 4_026_531_837),
            namespace(Kind::Net, 30, 0, 11),
            Namespace { is_ghost: true, ..namespace(Kind::User, 11, 10, 10) },
        ],
        bound: vec![bound("/run/a"), bound("/run/b"), bound("/run/a")],
    }
}

fn all() -> Choice {
    let kinds: Kinds = Kind::ALL.into_iter().collect();
    Choice {
        kinds,
        task: None,
        persistent: false,
        namespace: None,
        tree: Tree::Process,
        filter: None,
    }
}

fn format(columns: &str) -> Format {
    Format {
        columns: columns.split(',').map(|name| Column::by_name(name).unwrap()).collect(),
        headings: true,
        style: Style::Aligned,
        tree: Tree::Process,
        nowrap: false,
        width: None,
        art: Art::Lines,
    }
}

fn listed(choice: &Choice, format: &Format) -> String {
    let system = system();
    let format = Format { tree: choice.tree, ..format.clone() };
    render(&system, &rows(&system, choice).unwrap(), &format)
}

#[test]
fn namespaces_are_sorted_and_their_processes_form_a_tree() {
    // TYPE is as wide as its heading and so has its hint, PID is narrower.
    let expected = "        NS TYPE  NPROCS PID USER COMMAND
        10 user       2   7 root sleep 9
        20 pid        2   7 root sleep 9
        30 net        0     core \n\
4026531836 pid        1   1 root /sbin/init a\\x09b
4026531837 user       1   1 root /sbin/init a\\x09b
";
    assert_eq!(listed(&all(), &format("ns,type,nprocs,pid,user,command")), expected);
}

#[test]
fn owners_and_parents_are_above() {
    let owner = Choice { tree: Tree::Owner, ..all() };
    let expected = "NS           TYPE
4026531837   user
├─10         user
│ ├─11       user
│ │ └─30     net
│ └─20       pid
└─4026531836 pid
";
    assert_eq!(listed(&owner, &format("ns,type")), expected);
    let parent = Choice { tree: Tree::Parent, kinds: [Kind::Pid].into_iter().collect(), ..all() };
    let ascii = Format { art: Art::Ascii, headings: false, ..format("NS,pns") };
    assert_eq!(listed(&parent, &ascii), "4026531836          0\n`-20       4026531836\n");
}

#[test]
fn one_namespace_lists_its_processes() {
    let one = Choice { namespace: Some(20), ..all() };
    let raw = Format { style: Style::Raw, art: Art::Ascii, ..format("pid,ppid,command") };
    assert_eq!(listed(&one, &raw), "PID PPID COMMAND\n7 1 sleep\\x209\n8 7 `-sh\n");
    let missing = rows(&system(), &Choice { namespace: Some(5), ..all() });
    assert_eq!(missing.unwrap_err().to_string(), "not found namespace: 5");
    // A ghost is there for trees of namespaces only.
    assert!(rows(&system(), &Choice { namespace: Some(11), ..all() }).is_err());
}

#[test]
fn json_nests_and_has_null_for_nothing() {
    let one = Choice { namespace: Some(20), ..all() };
    let json = Format { style: Style::Json, ..format("pid,command") };
    let expected = r#"{
   "namespaces": [
      {
         "pid": 7,
         "command": "sleep 9",
         "children": [
            {
               "pid": 8,
               "command": "sh"
            }
         ]
      }
   ]
}
"#;
    assert_eq!(listed(&one, &json), expected);
    let persistent = Choice { persistent: true, ..all() };
    let json = Format { style: Style::Json, ..format("ns,pid,user,netnsid,nsfs") };
    let value: serde_json::Value = serde_json::from_str(&listed(&persistent, &json)).unwrap();
    let expected = serde_json::json!({"namespaces": [
        {"ns": 30, "pid": null, "user": "core", "netnsid": "unassigned", "nsfs": "/run/a\n/run/b"}
    ]});
    assert_eq!(value, expected);
    let none = Choice { task: Some(99), ..all() };
    assert_eq!(listed(&none, &json), "{\n   \"namespaces\": [\n\n   ]\n}\n");
    assert_eq!(listed(&none, &format("ns")), "");
}

#[test]
fn several_paths_take_several_lines_or_commas() {
    let net = Choice { kinds: [Kind::Net].into_iter().collect(), ..all() };
    let wrapped = listed(&net, &format("nsfs,type"));
    assert_eq!(wrapped, "NSFS   TYPE\n/run/a net\n/run/b \n");
    let nowrap = Format { nowrap: true, ..format("nsfs,type") };
    assert_eq!(listed(&net, &nowrap), "NSFS          TYPE\n/run/a,/run/b net\n");
}

#[test]
fn only_commands_are_cut_and_only_in_a_terminal() {
    let task = Choice { task: Some(1), tree: Tree::None, ..all() };
    let narrow = Format { width: Some(20), headings: false, ..format("ns,command") };
    assert_eq!(listed(&task, &narrow), "4026531836 /sbin/ini\n4026531837 /sbin/ini\n");
    let least = Format { width: Some(3), ..format("command,ns") };
    assert_eq!(listed(&task, &least).lines().nth(1), Some("/sbin/i 4026531836"));
}

#[test]
fn a_broken_snapshot_ends() {
    let mut broken = system();
    broken.namespaces[1].owner = 10;
    broken.processes[0].ppid = 7;
    let tree = Choice { tree: Tree::Owner, ..all() };
    assert_eq!(rows(&broken, &tree).unwrap().len(), 6);
    assert_eq!(rows(&broken, &all()).unwrap().len(), 5);
}
