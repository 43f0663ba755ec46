//! The steps that lead from the agent to a program in its namespaces: pure,
//! the order is that of unshare(1) in util-linux 2.41.

use super::idmap::{self, Block, IdRange};
use super::kind::{Kind, Kinds};
use super::spec::{MapRange, MapTarget, NamespaceSpec, Propagation, SetGroups};

/// One thing the new process does. Paths are bytes of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    BecomeUser(Credentials),
    /// The directory to start in.
    EnterDirectory(StartDirectory),
    /// Start a process outside that will write maps larger than one id.
    StartIdMapper(IdMaps),
    Unshare(Kinds),
    /// Let that process write the maps, and wait for it.
    FinishIdMapper,
    ClockOffset(Clock, i64),
    /// Go on in a child; the parent stays behind and passes on its end.
    Fork {
        /// What the child gets when the parent dies.
        kill_child: Option<u8>,
    },
    MapUser(IdRange),
    MapGroup(IdRange),
    ControlSetgroups(SetGroups),
    /// Of every mount below `/`.
    Propagate(Propagation),
    ChangeRoot(Vec<u8>),
    ChangeDirectory(Vec<u8>),
    MountProc {
        dir: Vec<u8>,
        /// Whether the mount that is there may be shared with the outside.
        make_private: bool,
    },
    /// Drop the supplementary groups and set the group id.
    SetGroup(u32),
    SetUser(u32),
    KeepCapabilities,
    Exec,
}

/// Who a process is to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// Where the program starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartDirectory {
    /// The user's home, or `/` where that cannot be entered, as login does.
    Home(Vec<u8>),
    /// What was asked for, or nothing.
    Asked(Vec<u8>),
}

/// Maps that another process has to write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMaps {
    pub users: Vec<IdRange>,
    pub groups: Vec<IdRange>,
}

/// A clock with an offset (`time_namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Monotonic,
    Boottime,
}

/// Users or groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    Users,
    Groups,
}

/// What a plan may ask of the guest's files. Errors are whole sentences in
/// util-linux's words.
pub trait Directory {
    fn id_of(&self, ids: Ids, name: &str) -> Option<u32>;
    /// The first block of subordinate ids of a user: first id and count.
    fn subordinate(&self, ids: Ids, uid: u32) -> Result<(u32, u32), String>;
    /// The blocks our own user namespace has: first id and count.
    fn available(&self, ids: Ids) -> Result<Vec<(u32, u32)>, String>;
}

/// Why there is no plan, in util-linux's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

/// The steps for a program that `caller` runs.
pub fn plan(
    spec: &NamespaceSpec,
    caller: &Credentials,
    start: StartDirectory,
    directory: &dyn Directory,
) -> Result<Vec<Step>, Refusal> {
    let mut steps = vec![Step::BecomeUser(caller.clone()), Step::EnterDirectory(start)];
    let maps = Maps::resolve(spec, caller, directory)?;
    creation(spec, &maps, &mut steps);
    own_maps(spec, &maps, &mut steps);
    file_systems(spec, &mut steps);
    identity(spec, &mut steps);
    steps.push(Step::Exec);
    Ok(steps)
}

/// Id maps, split by who may write them: a single id the process itself,
/// anything else a helper outside.
struct Maps {
    user: Option<IdRange>,
    group: Option<IdRange>,
    by_helper: IdMaps,
}

impl Maps {
    fn resolve(
        spec: &NamespaceSpec,
        caller: &Credentials,
        directory: &dyn Directory,
    ) -> Result<Self, Refusal> {
        let resolve = |ids, own: &Option<MapTarget>, current, ranges: &[MapRange]| {
            let inner = target(ids, own.as_ref(), current, directory)?;
            let single = inner.map(|inner| (inner, current));
            if ranges.is_empty() {
                return Ok((single.map(|(i, o)| IdRange::single(i, o)), Vec::new()));
            }
            let blocks = blocks(ids, ranges, caller.uid, directory)?;
            Ok((None, idmap::with_single(&blocks, single)))
        };
        let (user, users) = resolve(Ids::Users, &spec.map_user, caller.uid, &spec.map_users)?;
        let (group, groups) = resolve(Ids::Groups, &spec.map_group, caller.gid, &spec.map_groups)?;
        if group.is_some() && spec.setgroups == Some(SetGroups::Allow) {
            let text = "options --setgroups=allow and --map-group are mutually exclusive";
            return Err(Refusal(text.to_owned()));
        }
        Ok(Self { user, group, by_helper: IdMaps { users, groups } })
    }

    const fn need_helper(&self) -> bool {
        !self.by_helper.users.is_empty() || !self.by_helper.groups.is_empty()
    }
}

fn target(
    ids: Ids,
    own: Option<&MapTarget>,
    current: u32,
    directory: &dyn Directory,
) -> Result<Option<u32>, Refusal> {
    let what = if ids == Ids::Users { "uid" } else { "gid" };
    match own {
        None => Ok(None),
        Some(MapTarget::Current) => Ok(Some(current)),
        Some(MapTarget::Id(id)) => Ok(Some(*id)),
        Some(MapTarget::Name(name)) => match directory.id_of(ids, name) {
            Some(id) => Ok(Some(id)),
            None => Err(Refusal(format!("failed to parse {what} '{name}'"))),
        },
    }
}

fn blocks(
    ids: Ids,
    ranges: &[MapRange],
    uid: u32,
    directory: &dyn Directory,
) -> Result<Vec<Block>, Refusal> {
    let mut blocks = Vec::new();
    for range in ranges {
        match *range {
            MapRange::Range { inner, outer, count } => {
                blocks.push(Block { inner: Some(inner), outer, count });
            }
            MapRange::Auto | MapRange::Subids => {
                let (outer, count) = directory.subordinate(ids, uid).map_err(Refusal)?;
                let inner = (*range == MapRange::Subids).then_some(outer);
                blocks.push(Block { inner, outer, count });
            }
            MapRange::All => {
                let all = directory.available(ids).map_err(Refusal)?;
                let same = |(id, count)| Block { inner: Some(id), outer: id, count };
                blocks.extend(all.into_iter().map(same));
            }
        }
    }
    Ok(blocks)
}

fn creation(spec: &NamespaceSpec, maps: &Maps, steps: &mut Vec<Step>) {
    if maps.need_helper() {
        steps.push(Step::StartIdMapper(maps.by_helper.clone()));
    }
    if !spec.kinds.is_empty() {
        steps.push(Step::Unshare(spec.kinds));
    }
    if maps.need_helper() {
        steps.push(Step::FinishIdMapper);
    }
    steps.extend(spec.boottime.map(|seconds| Step::ClockOffset(Clock::Boottime, seconds)));
    steps.extend(spec.monotonic.map(|seconds| Step::ClockOffset(Clock::Monotonic, seconds)));
    if spec.fork {
        steps.push(Step::Fork { kill_child: spec.kill_child });
    }
}

/// Since Linux 3.19 a group map may be written without privilege only after
/// setgroups(2) was denied for good.
fn own_maps(spec: &NamespaceSpec, maps: &Maps, steps: &mut Vec<Step>) {
    steps.extend(maps.user.map(Step::MapUser));
    if let Some(group) = maps.group {
        steps.push(Step::ControlSetgroups(SetGroups::Deny));
        steps.push(Step::MapGroup(group));
    }
    steps.extend(spec.setgroups.map(Step::ControlSetgroups));
}

fn file_systems(spec: &NamespaceSpec, steps: &mut Vec<Step>) {
    let propagation = spec.propagation.unwrap_or(Propagation::Private);
    if spec.wants(Kind::Mount) && propagation != Propagation::Unchanged {
        steps.push(Step::Propagate(propagation));
    }
    let bytes = |path: &serde_bytes::ByteBuf| path.to_vec();
    steps.extend(spec.root.as_ref().map(bytes).map(Step::ChangeRoot));
    let root_implies = spec.root.as_ref().map(|_| b"/".to_vec());
    let dir = spec.wd.as_ref().map(bytes).or(root_implies);
    steps.extend(dir.map(Step::ChangeDirectory));
    if let Some(dir) = &spec.mount_proc {
        let make_private = spec.root.is_none() && propagation != Propagation::Private;
        steps.push(Step::MountProc { dir: dir.to_vec(), make_private });
    }
}

fn identity(spec: &NamespaceSpec, steps: &mut Vec<Step>) {
    steps.extend(spec.setgid.map(Step::SetGroup));
    steps.extend(spec.setuid.map(Step::SetUser));
    if spec.keep_caps && spec.wants(Kind::User) {
        steps.push(Step::KeepCapabilities);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_bytes::ByteBuf as Bytes;

    use super::*;

    struct Files;

    impl Directory for Files {
        fn id_of(&self, ids: Ids, name: &str) -> Option<u32> {
            (name == "nobody").then_some(if ids == Ids::Users { 65534 } else { 65533 })
        }

        fn subordinate(&self, _: Ids, uid: u32) -> Result<(u32, u32), String> {
            if uid == 1000 { Ok((100_000, 10)) } else { Err("no line".into()) }
        }

        fn available(&self, _: Ids) -> Result<Vec<(u32, u32)>, String> {
            Ok(vec![(0, 4_294_967_295)])
        }
    }

    fn caller() -> Credentials {
        Credentials { uid: 1000, gid: 1001, groups: vec![27] }
    }

    fn try_steps(spec: &NamespaceSpec) -> Result<Vec<Step>, Refusal> {
        plan(spec, &caller(), StartDirectory::Home(b"/home/core".to_vec()), &Files)
    }

    /// The steps between entering the home and the exec.
    fn steps(spec: &NamespaceSpec) -> Vec<Step> {
        let all = try_steps(spec).unwrap();
        let [Step::BecomeUser(_), Step::EnterDirectory(_), middle @ .., Step::Exec] = &all[..]
        else {
            panic!("{all:?}")
        };
        middle.to_vec()
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
                Step::Fork { kill_child: None },
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
                Step::Fork { kill_child: None },
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
            (
                NamespaceSpec { fork: true, kill_child: Some(9), ..base() },
                vec![Step::Fork { kill_child: Some(9) }],
            ),
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
            let fork_at = at(|s| matches!(s, Step::Fork { .. }));
            let map = at(|s| matches!(s, Step::MapUser(_) | Step::MapGroup(_)));
            let mount = at(|s| matches!(s, Step::MountProc { .. }));
            let before = |a: Option<usize>, b: Option<usize>| a.zip(b).is_none_or(|(a, b)| a < b);
            prop_assert!(matches!(steps[0], Step::BecomeUser(_)));
            prop_assert!(before(unshare, fork_at) && before(unshare, map));
            prop_assert!(before(fork_at, map) && before(fork_at, mount) && before(map, mount));
            prop_assert_eq!(at(|s| *s == Step::Exec), Some(steps.len() - 1));
        }
    }
}
