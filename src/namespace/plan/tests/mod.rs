mod enter;
mod named;

use proptest::prelude::*;
use serde_bytes::ByteBuf as Bytes;

use super::*;
use crate::namespace::idmap::IdRange;
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::spec::{MapRange, MapTarget, Propagation, SetGroups};
use crate::protocol::properties;

struct Files;

impl Directory for Files {
    fn name_servers(&self) -> Option<Vec<u8>> {
        Some(b"/run/servers".to_vec())
    }

    fn id_of(&self, ids: Ids, name: &str) -> Option<u32> {
        (name == "nobody").then_some(if ids == Ids::Users { 65534 } else { 65533 })
    }

    fn subordinate(&self, _: Ids, uid: u32) -> Result<(u32, u32), String> {
        if uid == 1000 { Ok((100_000, 10)) } else { Err("no line".into()) }
    }

    fn available(&self, _: Ids) -> Result<Vec<(u32, u32)>, String> {
        Ok(vec![(0, 4_294_967_295)])
    }

    /// Process 1 shares our user namespace.
    fn enterable(&self, pid: u32) -> Kinds {
        let all: Kinds = Kind::ALL.into_iter().collect();
        if pid == 1 { all.without(Kinds::NONE.with(Kind::User)) } else { all }
    }
}

fn caller() -> Credentials {
    Credentials { uid: 1000, gid: 1001, groups: vec![27] }
}

fn try_steps(spec: &NamespaceSpec) -> Result<Vec<Step>, Refusal> {
    let wanted = Wanted { enter: None, create: spec, limits: &Limits::NONE };
    plan(wanted, &caller(), StartDirectory::Home(b"/home/core".to_vec()), &Files)
}

/// The steps between entering the home and the exec.
fn steps(spec: &NamespaceSpec) -> Vec<Step> {
    let all = try_steps(spec).unwrap();
    let [Step::BecomeUser(_), Step::EnterDirectory(_), middle @ .., Step::Exec] = &all[..] else {
        panic!("{all:?}")
    };
    middle.to_vec()
}

fn fork(kill_child: Option<u8>) -> Step {
    Step::Fork(Parent { kill_child, ..Parent::default() })
}

fn kinds(kinds: &[Kind]) -> Kinds {
    kinds.iter().copied().collect()
}

const ROOT: Option<MapTarget> = Some(MapTarget::Id(0));

#[test]
fn without_namespaces_a_program_just_runs() {
    assert_eq!(steps(&NamespaceSpec::default()), []);
}

#[test]
fn the_example_of_the_article() {
    let spec = NamespaceSpec {
        kinds: kinds(&[Kind::User, Kind::Pid, Kind::Mount]),
        fork: true,
        map_user: ROOT,
        map_group: ROOT,
        mount_proc: Some(Bytes::from(b"/proc".to_vec())),
        ..NamespaceSpec::default()
    };
    assert_eq!(
        steps(&spec),
        [
            Step::Unshare(spec.kinds),
            fork(None),
            Step::MapUser(IdRange::single(0, 1000)),
            Step::ControlSetgroups(SetGroups::Deny),
            Step::MapGroup(IdRange::single(0, 1001)),
            Step::Propagate(Propagation::Private),
            Step::MountProc { dir: b"/proc".to_vec(), make_private: false },
        ]
    );
}

#[test]
fn larger_maps_are_written_from_outside_before_the_fork() {
    let spec = NamespaceSpec {
        kinds: kinds(&[Kind::User]),
        fork: true,
        map_user: ROOT,
        map_users: vec![MapRange::Auto],
        map_group: ROOT,
        ..NamespaceSpec::default()
    };
    let users = vec![IdRange::single(0, 1000), IdRange { inner: 1, outer: 100_000, count: 10 }];
    assert_eq!(
        steps(&spec),
        [
            Step::StartIdMapper(IdMaps { users, groups: vec![] }),
            Step::Unshare(spec.kinds),
            Step::FinishIdMapper,
            fork(None),
            Step::ControlSetgroups(SetGroups::Deny),
            Step::MapGroup(IdRange::single(0, 1001)),
        ]
    );
}

#[test]
fn each_option_adds_its_step() {
    let bytes = |text: &[u8]| Some(Bytes::from(text.to_vec()));
    let base = NamespaceSpec::default;
    let mount = kinds(&[Kind::Mount]);
    let unshare = Step::Unshare(mount);
    let propagate = Step::Propagate;
    let slash = || Step::ChangeDirectory(b"/".to_vec());
    let root_dir = || Step::ChangeRoot(b"/r".to_vec());
    let proc = |make_private| Step::MountProc { dir: b"/p".to_vec(), make_private };
    let table: Vec<(NamespaceSpec, Vec<Step>)> = vec![
        (
            NamespaceSpec { kinds: mount, ..base() },
            vec![unshare.clone(), propagate(Propagation::Private)],
        ),
        (
            NamespaceSpec { kinds: mount, propagation: Some(Propagation::Unchanged), ..base() },
            vec![unshare.clone()],
        ),
        (NamespaceSpec { propagation: Some(Propagation::Shared), ..base() }, vec![]),
        (
            NamespaceSpec {
                kinds: mount,
                propagation: Some(Propagation::Slave),
                mount_proc: bytes(b"/p"),
                ..base()
            },
            vec![unshare.clone(), propagate(Propagation::Slave), proc(true)],
        ),
        (
            NamespaceSpec { root: bytes(b"/r"), mount_proc: bytes(b"/p"), ..base() },
            vec![root_dir(), slash(), proc(false)],
        ),
        (
            NamespaceSpec { root: bytes(b"/r"), wd: bytes(b"w"), ..base() },
            vec![root_dir(), Step::ChangeDirectory(b"w".to_vec())],
        ),
        (
            NamespaceSpec { setuid: Some(5), setgid: Some(6), ..base() },
            vec![Step::SetGroup(6), Step::SetUser(5)],
        ),
        (NamespaceSpec { fork: true, kill_child: Some(9), ..base() }, vec![fork(Some(9))]),
        (NamespaceSpec { keep_caps: true, ..base() }, vec![]),
        (
            NamespaceSpec { kinds: kinds(&[Kind::User]), keep_caps: true, ..base() },
            vec![Step::Unshare(kinds(&[Kind::User])), Step::KeepCapabilities],
        ),
        (
            NamespaceSpec { setgroups: Some(SetGroups::Deny), ..base() },
            vec![Step::ControlSetgroups(SetGroups::Deny)],
        ),
        (
            NamespaceSpec {
                kinds: kinds(&[Kind::Time]),
                monotonic: Some(-3),
                boottime: Some(4),
                ..base()
            },
            vec![
                Step::Unshare(kinds(&[Kind::Time])),
                Step::ClockOffset(Clock::Boottime, 4),
                Step::ClockOffset(Clock::Monotonic, -3),
            ],
        ),
        (
            NamespaceSpec { map_user: Some(MapTarget::Name("nobody".into())), ..base() },
            vec![Step::MapUser(IdRange::single(65534, 1000))],
        ),
        (
            NamespaceSpec { map_user: Some(MapTarget::Current), ..base() },
            vec![Step::MapUser(IdRange::single(1000, 1000))],
        ),
    ];
    for (spec, expected) in table {
        assert_eq!(steps(&spec), expected, "{spec:?}");
    }
}

#[test]
fn what_cannot_be_is_refused_in_util_linux_words() {
    let base = NamespaceSpec::default;
    let allow = Some(SetGroups::Allow);
    for (spec, text) in [
        (
            NamespaceSpec { map_group: ROOT, setgroups: allow, ..base() },
            "options --setgroups=allow and --map-group are mutually exclusive",
        ),
        (
            NamespaceSpec { map_user: Some(MapTarget::Name("x".into())), ..base() },
            "failed to parse uid 'x'",
        ),
    ] {
        assert_eq!(try_steps(&spec).unwrap_err().to_string(), text);
    }
}

proptest! {
    #[test]
    fn order_rules_hold_for_any_combination(
        flags in prop::array::uniform12(any::<bool>()), set in any::<u8>(),
    ) {
        let [fork, kill, user, group, users, root_dir, wd, proc, setuid, caps, mono, deny] = flags;
        let spec = NamespaceSpec {
            kinds: Kind::ALL.into_iter().filter(|kind| set & 1 << *kind as u8 != 0).collect(),
            fork,
            kill_child: kill.then_some(9),
            map_user: user.then_some(MapTarget::Id(0)),
            map_group: group.then_some(MapTarget::Current),
            map_users: if users { vec![MapRange::Subids, MapRange::All] } else { vec![] },
            root: root_dir.then(|| Bytes::from(b"/r".to_vec())),
            wd: wd.then(|| Bytes::from(b"/w".to_vec())),
            mount_proc: proc.then(|| Bytes::from(b"/proc".to_vec())),
            setuid: setuid.then_some(1),
            keep_caps: caps,
            monotonic: mono.then_some(1),
            setgroups: deny.then_some(SetGroups::Deny),
            ..NamespaceSpec::default()
        };
        let steps = try_steps(&spec).unwrap();
        let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted);
        let unshare = at(|s| matches!(s, Step::Unshare(_)));
        let fork_at = at(|s| matches!(s, Step::Fork(_)));
        let map = at(|s| matches!(s, Step::MapUser(_) | Step::MapGroup(_)));
        let mount = at(|s| matches!(s, Step::MountProc { .. }));
        let before = |a: Option<usize>, b: Option<usize>| a.zip(b).is_none_or(|(a, b)| a < b);
        prop_assert!(matches!(steps[0], Step::BecomeUser(_)));
        prop_assert!(before(unshare, fork_at) && before(unshare, map));
        prop_assert!(before(fork_at, map) && before(fork_at, mount) && before(map, mount));
        prop_assert_eq!(at(|s| *s == Step::Exec), Some(steps.len() - 1));
    }
}

/// Where `wanted` holds first and last.
fn span(steps: &[Step], wanted: fn(&Step) -> bool) -> Option<(usize, usize)> {
    Some((steps.iter().position(wanted)?, steps.iter().rposition(wanted)?))
}

proptest! {
    /// Whatever a peer sends: no panic, and where there is a plan, its order.
    #[test]
    fn order_rules_hold_for_any_request(
        create in properties::namespaces(),
        enter in prop::option::of(properties::entering()),
        limits in properties::limits(),
    ) {
        let wanted = Wanted { enter: enter.as_ref(), create: &create, limits: &limits };
        let start = StartDirectory::Home(b"/home/core".to_vec());
        let Ok(steps) = plan(wanted, &caller(), start, &Files) else { return Ok(()) };
        // The last of the one comes before the first of the other.
        let before = |one: fn(&Step) -> bool, other: fn(&Step) -> bool| {
            span(&steps, one).zip(span(&steps, other)).is_none_or(|(a, b)| a.1 < b.0)
        };
        let by_root = |s: &Step| matches!(s, Step::StartConnector | Step::Confine(_));
        let becomes = |s: &Step| matches!(s, Step::BecomeUser(_));
        let opens = |s: &Step| matches!(s, Step::Open(..) | Step::HoldTarget { .. } | Step::OpenCgroup(_));
        let joins = |s: &Step| matches!(s, Step::Join(_) | Step::TryJoin(_));
        let starts = |s: &Step| matches!(s, Step::StartIdMapper(_) | Step::StartBinder(_));
        let creates = |s: &Step| matches!(s, Step::Unshare(_));
        let finishes = |s: &Step| matches!(s, Step::FinishIdMapper | Step::FinishConnector);
        let maps = |s: &Step| matches!(s, Step::MapUser(_) | Step::MapGroup(_));
        let mounts = |s: &Step| matches!(s, Step::Propagate(_) | Step::MountProc { .. });
        let ids = |s: &Step| matches!(s, Step::SetGroup(_) | Step::SetUser(_));
        let exec = |s: &Step| *s == Step::Exec;
        prop_assert!(before(by_root, becomes) && before(becomes, opens) && before(opens, joins));
        prop_assert!(before(joins, starts) && before(starts, creates) && before(joins, creates));
        prop_assert!(before(creates, finishes) && before(finishes, maps) && before(creates, maps));
        prop_assert!(before(maps, mounts) && before(mounts, ids) && before(maps, ids));
        prop_assert_eq!(span(&steps, becomes).map(|(a, b)| a == b), Some(true));
        prop_assert_eq!(span(&steps, exec), Some((steps.len() - 1, steps.len() - 1)));
        // Who waits for a process has started it, and the other way round.
        let count = |wanted: fn(&Step) -> bool| steps.iter().filter(|s| wanted(s)).count();
        prop_assert_eq!(
            count(|s| matches!(s, Step::StartConnector)), count(|s| *s == Step::FinishConnector)
        );
        prop_assert_eq!(
            count(|s| matches!(s, Step::StartIdMapper(_))), count(|s| *s == Step::FinishIdMapper)
        );
        // Entering a PID namespace takes a fork, and so do --fork's programs.
        let forks = count(|s| matches!(s, Step::Fork(_)));
        let enters_pid = steps.iter().any(|s| matches!(s, Step::Join(kinds) if kinds.contains(Kind::Pid)));
        let no_fork = enter.as_ref().is_some_and(|spec| spec.no_fork);
        prop_assert_eq!(forks, usize::from(create.fork) + usize::from(enters_pid && !no_fork));
        // One call, in which the kernel makes the user namespace first.
        prop_assert!(count(creates) <= 1);
        if let Some(Step::Unshare(kinds)) = steps.iter().find(|s| creates(s)) {
            prop_assert!(create.kinds.iter().all(|kind| kinds.contains(kind)));
        }
        let _ = crate::namespace::explain::render(&steps, "x");
        let _ = holding(&create, &limits, &caller(), &Files);
    }
}

#[test]
fn limits_are_joined_before_anything_else_and_only_if_there_are_any() {
    let create = NamespaceSpec::default();
    let steps = |limits: &Limits| {
        let wanted = Wanted { enter: None, create: &create, limits };
        plan(wanted, &caller(), StartDirectory::Asked(b"/".to_vec()), &Files).unwrap()
    };
    let some = Limits { pids: Some(3), ..Limits::NONE };
    assert_eq!(steps(&some)[0], Step::Confine(some));
    assert_eq!(steps(&some)[1..], steps(&Limits::NONE));
}

#[test]
fn a_network_is_connected_by_root_after_the_namespace_is_made() {
    let net = |network, more: NamespaceSpec| NamespaceSpec {
        kinds: more.kinds.union(kinds(&[Kind::Net])),
        network,
        ..more
    };
    let all = try_steps(&net(Network::Loopback, NamespaceSpec::default())).unwrap();
    assert_eq!(all[2..4], [Step::Unshare(kinds(&[Kind::Net])), Step::LoopbackUp]);
    let all = try_steps(&net(Network::Nat, NamespaceSpec::default())).unwrap();
    let expected = [
        Step::StartConnector,
        Step::BecomeUser(caller()),
        Step::EnterDirectory(StartDirectory::Home(b"/home/core".to_vec())),
        // For the name servers.
        Step::Unshare(kinds(&[Kind::Net, Kind::Mount])),
        Step::FinishConnector,
        Step::Propagate(Propagation::Private),
        Step::ShowNameServers { of: b"/run/servers".to_vec(), at: b"/etc/resolv.conf".to_vec() },
        Step::Exec,
    ];
    assert_eq!(all, expected);
    let root = NamespaceSpec { root: Some(Bytes::from(b"/r".to_vec())), ..Default::default() };
    let all = try_steps(&net(Network::Nat, root)).unwrap();
    let shown = |step: &Step| matches!(step, Step::ShowNameServers { at, .. } if at == b"/r/etc/resolv.conf");
    let place = all.iter().position(shown).unwrap();
    assert_eq!(all[place + 1], Step::ChangeRoot(b"/r".to_vec()));
}

#[test]
fn name_servers_are_never_shown_to_the_whole_machine() {
    for propagation in [Propagation::Shared, Propagation::Unchanged] {
        let spec = NamespaceSpec {
            kinds: kinds(&[Kind::Net]),
            network: Network::Nat,
            propagation: Some(propagation),
            ..Default::default()
        };
        assert!(try_steps(&spec).is_err());
    }
}
