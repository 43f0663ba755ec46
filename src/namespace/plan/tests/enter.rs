use proptest::prelude::*;
use serde_bytes::ByteBuf as Bytes;

use super::*;
use crate::namespace::enter::{Id, KindFile, Place};
use crate::namespace::plan::create::PROC_BINFMT;

fn enter_steps(spec: &EnterSpec) -> Result<Vec<Step>, Refusal> {
    let create = NamespaceSpec::default();
    let wanted = Wanted { enter: Some(spec), create: &create, limits: &Limits::NONE };
    let all = plan(wanted, &caller(), StartDirectory::Home(b"/home/core".to_vec()), &Files)?;
    Ok(all[2..all.len() - 1].to_vec())
}

fn of_target(kind: &[Kind]) -> EnterSpec {
    EnterSpec { target: Some(7), kinds: kinds(kind), ..EnterSpec::default() }
}

#[test]
fn a_targets_namespaces_are_joined_in_two_passes() {
    let two = kinds(&[Kind::User, Kind::Pid]);
    assert_eq!(
        enter_steps(&of_target(&[Kind::User, Kind::Pid])).unwrap(),
        [
            Step::HoldTarget { pid: 7, kinds: two },
            Step::TryDropGroups,
            Step::TryJoin(kinds(&[Kind::Pid])),
            Step::Join(two),
            fork(None),
            Step::TakeIdentity { uid: Some(Id::Number(0)), gid: Some(Id::Number(0)) },
        ]
    );
}

#[test]
fn all_are_those_that_can_be_entered() {
    let spec = |target| EnterSpec { target: Some(target), all: true, ..EnterSpec::default() };
    let steps = enter_steps(&spec(1)).unwrap();
    let others = Kinds::from_iter(Kind::ALL).without(kinds(&[Kind::User]));
    assert_eq!(steps[..2], [Step::CheckTarget(1), Step::HoldTarget { pid: 1, kinds: others }]);
    // Without a new user namespace nobody becomes root.
    assert_eq!(steps[2..], [Step::TryJoin(others), Step::Join(others), fork(None)]);
    assert!(enter_steps(&spec(2)).unwrap().contains(&Step::TryDropGroups));
}

#[test]
fn each_option_of_nsenter_adds_its_step() {
    let net = || of_target(&[Kind::Net]);
    let path = |text: &str| Bytes::from(text.as_bytes().to_vec());
    let join = |set: &[Kind]| [Step::TryJoin(kinds(set)), Step::Join(kinds(set))];
    let hold = |set: &[Kind]| Step::HoldTarget { pid: 7, kinds: kinds(set) };
    let open = |handle, path: &str| Step::Open(handle, path.as_bytes().to_vec());
    let [try_net, join_net] = join(&[Kind::Net]);
    let [_, join_both] = join(&[Kind::Net, Kind::User]);
    let file = KindFile { kind: Kind::Net, path: path("/n") };
    let table: Vec<(EnterSpec, Vec<Step>)> = vec![
        (
            EnterSpec { files: vec![file.clone()], ..EnterSpec::default() },
            vec![open(Handle::Namespace(Kind::Net), "/n"), try_net.clone(), join_net.clone()],
        ),
        (
            EnterSpec { root: Some(Place::Target), wdns: Some(path("/w")), ..net() },
            vec![
                hold(&[Kind::Net]),
                open(Handle::Root, "/proc/7/root"),
                try_net.clone(),
                join_net.clone(),
                Step::EnterRoot,
                Step::OpenDirectoryInside(b"/w".to_vec()),
                Step::ReturnToDirectory,
            ],
        ),
        (
            EnterSpec { root: Some(Place::Path(path("/r"))), ..net() },
            vec![
                open(Handle::Root, "/r"),
                hold(&[Kind::Net]),
                try_net.clone(),
                join_net.clone(),
                Step::RememberDirectory,
                Step::EnterRoot,
                Step::ReturnToDirectory,
            ],
        ),
        (
            EnterSpec { env: true, join_cgroup: true, setuid: Some(Id::Follow), ..net() },
            vec![
                hold(&[Kind::Net]),
                open(Handle::Environment, "/proc/7/environ"),
                open(Handle::Process, "/proc/7/"),
                Step::OpenCgroup(7),
                try_net.clone(),
                join_net.clone(),
                Step::TakeEnvironment,
                Step::MoveToCgroup,
                Step::TakeIdentity { uid: Some(Id::Follow), gid: None },
            ],
        ),
        (
            EnterSpec { user_parent: true, preserve_credentials: true, keep_caps: true, ..net() },
            vec![
                hold(&[Kind::Net]),
                open(Handle::Namespace(Kind::User), "/proc/7/ns/user"),
                Step::OpenParentUser(Kind::User),
                try_net.clone(),
                join_both,
                Step::KeepCapabilities,
            ],
        ),
        (
            EnterSpec { net_socket: Some(3), target: Some(7), ..EnterSpec::default() },
            vec![
                hold(&[]),
                Step::OpenSocketNamespace { pid: 7, socket: 3 },
                try_net.clone(),
                join_net.clone(),
            ],
        ),
        (
            EnterSpec { no_fork: true, follow_context: true, ..of_target(&[Kind::Pid]) },
            [vec![Step::FollowContext(7), hold(&[Kind::Pid])], join(&[Kind::Pid]).to_vec()]
                .concat(),
        ),
    ];
    for (spec, expected) in table {
        assert_eq!(enter_steps(&spec).unwrap(), expected, "{spec:?}");
    }
}

#[test]
fn what_cannot_be_entered_is_refused_in_util_linux_words() {
    let base = EnterSpec::default;
    let net = kinds(&[Kind::Net]);
    for (spec, text) in [
        (base(), "no namespace specified"),
        (EnterSpec { kinds: net, ..base() }, "no target PID specified"),
        (EnterSpec { all: true, ..base() }, "no target PID specified"),
        (
            EnterSpec { root: Some(Place::Target), ..base() },
            "neither filename nor target pid supplied for root",
        ),
        (EnterSpec { env: true, ..base() }, "neither filename nor target pid supplied for environ"),
        (
            EnterSpec { follow_context: true, ..base() },
            "no target PID specified for --follow-context",
        ),
    ] {
        assert_eq!(enter_steps(&spec).unwrap_err().to_string(), text, "{spec:?}");
    }
}

#[test]
fn files_are_bound_where_that_is_possible() {
    let base = NamespaceSpec::default;
    let file = |kind| KindFile { kind, path: Bytes::from(b"/f".to_vec()) };
    let spec = |kind| NamespaceSpec { kinds: kinds(&[kind]), persist: vec![file(kind)], ..base() };
    let net = spec(Kind::Net);
    let own = vec![file(Kind::Net)];
    assert_eq!(steps(&net), [Step::Unshare(net.kinds), Step::Bind(own.clone())]);
    let binds = Binds::Itself(own);
    let parent = Parent { binds, ..Parent::default() };
    let forked = NamespaceSpec { fork: true, ..net };
    assert_eq!(steps(&forked)[1], Step::Fork(parent));
    // A mount in a new mount namespace is one that nobody sees.
    let mount = spec(Kind::Mount);
    assert_eq!(
        steps(&mount)[..3],
        [
            Step::StartBinder(vec![file(Kind::Mount)]),
            Step::Unshare(mount.kinds),
            Step::FinishBinder,
        ]
    );
    let forked = NamespaceSpec { fork: true, ..mount };
    let parent = Parent { binds: Binds::ByBinder, ..Parent::default() };
    assert_eq!(steps(&forked)[2], Step::Fork(parent));
}

#[test]
fn an_owner_is_become_before_the_namespace_is_made() {
    let spec = NamespaceSpec {
        kinds: kinds(&[Kind::User]),
        owner: Some((5, 6)),
        map_user: ROOT,
        ..NamespaceSpec::default()
    };
    assert_eq!(
        steps(&spec),
        [
            Step::StartIdMapper(IdMaps { users: vec![IdRange::single(0, 1000)], groups: vec![] }),
            Step::BecomeOwner { uid: 5, gid: 6 },
            Step::Unshare(spec.kinds),
            Step::FinishIdMapper,
        ]
    );
}

#[test]
fn an_interpreter_that_is_opened_at_once_is_registered_outside_the_new_root() {
    let bytes = |text: &str| Some(Bytes::from(text.as_bytes().to_vec()));
    let spec = |line: &str| NamespaceSpec {
        mount_binfmt: bytes("/b"),
        load_interp: bytes(line),
        root: bytes("/r"),
        ..NamespaceSpec::default()
    };
    let mount = |dir: &[u8]| Step::MountBinfmt(dir.to_vec());
    let load = |dir: &[u8], line: &str| Step::LoadInterpreter {
        dir: dir.to_vec(),
        line: line.as_bytes().to_vec(),
    };
    let root = [Step::ChangeRoot(b"/r".to_vec()), Step::ChangeDirectory(b"/".to_vec())];
    let plain = [&root[..], &[mount(b"/b"), load(b"/b", ":x:M::y::/i:")]].concat();
    assert_eq!(steps(&spec(":x:M::y::/i:")), plain);
    let early = [mount(PROC_BINFMT), load(PROC_BINFMT, ":x:M::y::/i:F")];
    assert_eq!(steps(&spec(":x:M::y::/i:F")), [&early[..], &root, &[mount(b"/b")]].concat());
}

proptest! {
    #[test]
    fn order_rules_hold_for_any_entering(
        flags in prop::array::uniform12(any::<bool>()), set in any::<u8>(),
    ) {
        let [all, user_parent, socket, root, wd, env, cgroup, no_fork, preserve, follow, file, caps] = flags;
        let path = || Bytes::from(b"/x".to_vec());
        let spec = EnterSpec {
            target: Some(7),
            all,
            user_parent,
            kinds: Kind::ALL.into_iter().filter(|kind| set & 1 << *kind as u8 != 0).collect(),
            files: if file { vec![KindFile { kind: Kind::Uts, path: path() }] } else { vec![] },
            net_socket: socket.then_some(3),
            root: root.then_some(Place::Target),
            wd: wd.then(|| Place::Path(path())),
            env,
            join_cgroup: cgroup,
            no_fork,
            preserve_credentials: preserve,
            setuid: follow.then_some(Id::Follow),
            keep_caps: caps,
            ..EnterSpec::default()
        };
        let create = NamespaceSpec { kinds: kinds(&[Kind::Ipc]), ..NamespaceSpec::default() };
        let wanted = Wanted { enter: Some(&spec), create: &create, limits: &Limits::NONE };
        let Ok(steps) = plan(wanted, &caller(), StartDirectory::Home(vec![]), &Files) else {
            prop_assert!(!all && set == 0 && !user_parent && !socket && !file);
            return Ok(());
        };
        let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted);
        let last_open = steps.iter().rposition(|s| matches!(s, Step::Open(..) | Step::OpenCgroup(_)));
        let join = at(|s| matches!(s, Step::Join(_))).unwrap();
        let before = |a: Option<usize>, b: Option<usize>| a.zip(b).is_none_or(|(a, b)| a < b);
        let identity = at(|s| matches!(s, Step::TakeIdentity { .. }));
        let forked = at(|s| matches!(s, Step::Fork(_)));
        prop_assert!(matches!(steps[0], Step::BecomeUser(_)));
        prop_assert!(before(last_open, Some(join)) && before(Some(join), forked));
        prop_assert!(before(forked, identity) && before(Some(join), identity));
        prop_assert!(before(Some(join), at(|s| matches!(s, Step::Unshare(_)))));
        prop_assert_eq!(at(|s| *s == Step::Exec), Some(steps.len() - 1));
    }
}
