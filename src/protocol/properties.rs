//! What holds for any bytes and any request.

use proptest::prelude::*;

use super::frame::{Decoder, HEADER};
use super::hello::Hello;
use super::message::{FromAgent, FromHost};
use super::request::{
    Bytes, ExecRequest, ListRequest, NamedRequest, NamedVerb, Request, Size, Terminal, UserSpec,
};
use crate::namespace::enter::{EnterSpec, Id, KindFile, Place};
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::limits::Limits;
use crate::namespace::listing::Snapshot;
use crate::namespace::named::NamedSpec;
use crate::namespace::network::{Mode, Network};
use crate::namespace::rootfs::{RootFsAnswer, RootFsVerb};
use crate::namespace::run::{Digest, RootFs, RunSpec};
use crate::namespace::spec::{MapRange, MapTarget, NamespaceSpec, Propagation, SetGroups};

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn kind_files() -> impl Strategy<Value = Vec<KindFile>> {
    let file = (0..Kind::ALL.len(), bytes());
    let file = file.prop_map(|(kind, path)| KindFile { kind: Kind::ALL[kind], path });
    prop::collection::vec(file, 0..3)
}

fn kinds() -> impl Strategy<Value = Kinds> {
    any::<[bool; 8]>()
        .prop_map(|set| Kind::ALL.into_iter().filter(|kind| set[*kind as usize]).collect())
}

fn target() -> impl Strategy<Value = Option<MapTarget>> {
    prop::option::of(prop_oneof![
        Just(MapTarget::Current),
        any::<u32>().prop_map(MapTarget::Id),
        ".*".prop_map(MapTarget::Name),
    ])
}

fn ranges() -> impl Strategy<Value = Vec<MapRange>> {
    let range = any::<(u32, u32, u32)>();
    let range = range.prop_map(|(inner, outer, count)| MapRange::Range { inner, outer, count });
    let any = prop_oneof![Just(MapRange::Auto), Just(MapRange::Subids), Just(MapRange::All), range];
    prop::collection::vec(any, 0..4)
}

prop_compose! {
    pub fn namespaces()(
        (kinds, persist, map_user, map_group) in (kinds(), kind_files(), target(), target()),
        (map_users, map_groups) in (ranges(), ranges()),
        (mount_proc, root, wd) in (prop::option::of(bytes()), prop::option::of(bytes()), prop::option::of(bytes())),
        (fork, keep_caps, forward_signals) in any::<(bool, bool, bool)>(),
        (kill_child, owner, setuid, setgid, monotonic, boottime) in any::<(Option<u8>, Option<(u32, u32)>, Option<u32>, Option<u32>, Option<i64>, Option<i64>)>(),
        (rules, hostname) in (0..4u8, prop::option::of(".*")),
    ) -> NamespaceSpec {
        NamespaceSpec {
            kinds, persist, fork, kill_child, forward_signals, owner, map_user, map_group,
            map_users, map_groups,
            setgroups: [None, Some(SetGroups::Allow), Some(SetGroups::Deny), None][usize::from(rules)],
            propagation: (rules == 3).then_some(Propagation::Slave),
            mount_binfmt: mount_proc.clone(),
            load_interp: root.clone(),
            mount_proc, root, wd, setuid, setgid, keep_caps, monotonic, boottime, hostname,
            network: [Network::Bare, Network::Loopback, Network::Nat, Network::Bare][usize::from(rules)],
        }
    }
}

prop_compose! {
    pub fn entering()(
        (kinds, files, wdns) in (kinds(), kind_files(), prop::option::of(bytes())),
        (target, net_socket, uid) in any::<(Option<u32>, Option<u32>, Option<u32>)>(),
        (target_started, start_inside) in any::<(Option<u64>, bool)>(),
        flags in any::<[bool; 8]>(),
        place in prop::option::of(bytes()),
    ) -> EnterSpec {
        let [all, user_parent, preserve_credentials, keep_caps, env, no_fork, join_cgroup, follow_context] = flags;
        EnterSpec {
            target, target_started, start_inside, all, kinds, files, net_socket, user_parent,
            setuid: uid.map(Id::Number),
            setgid: env.then_some(Id::Follow),
            preserve_credentials, keep_caps,
            root: Some(place.clone().map_or(Place::Target, Place::Path)),
            wd: place.map(Place::Path),
            wdns, env, no_fork, join_cgroup, follow_context,
        }
    }
}

prop_compose! {
    pub fn limits()(
        (cpu_quota, memory, pids, io_weight) in any::<(Option<u64>, Option<u64>, Option<u64>, Option<u16>)>(),
    ) -> Limits {
        Limits { cpu_quota, memory, pids, io_weight }
    }
}

prop_compose! {
    fn run()(
        root in prop::option::of(bytes()),
        (name, hostname) in (prop::option::of(".*"), prop::option::of(".*")),
        (privileged, read_only) in any::<(bool, bool)>(),
    ) -> RunSpec {
        let root = root.map_or(RootFs::Guest, RootFs::Directory);
        RunSpec { root, name, hostname, network: Mode::Nat, privileged, read_only }
    }
}

fn named() -> impl Strategy<Value = NamedVerb> {
    let name = || "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}".prop_map(|name| name.parse().unwrap());
    let made = (name(), namespaces(), limits());
    prop_oneof![
        Just(NamedVerb::List),
        name().prop_map(NamedVerb::Inspect),
        (name(), any::<bool>()).prop_map(|(name, force)| NamedVerb::Remove { name, force }),
        made.prop_map(|(name, namespaces, limits)| {
            NamedVerb::Create(Box::new(NamedSpec { name, namespaces, limits }))
        })
        .boxed(),
    ]
}

fn root_fs() -> impl Strategy<Value = RootFsVerb> {
    let names = prop::collection::vec(".*", 0..4);
    prop_oneof![
        Just(RootFsVerb::List),
        (names, any::<bool>()).prop_map(|(names, force)| RootFsVerb::Remove { names, force }),
    ]
}

prop_compose! {
    fn exec()(
        argv in prop::collection::vec(bytes(), 0..5),
        env in prop::collection::vec((bytes(), bytes()), 0..4),
        (cwd, caller_cwd) in (prop::option::of(bytes()), prop::option::of(bytes())),
        user in prop::option::of((".*", prop::option::of(".*"))),
        tty in prop::option::of((bytes(), any::<(u16, u16)>())),
        // Boxed, because all of them at once are too much for a thread's stack.
        enter in prop::option::of(entering()).boxed(),
        namespaces in namespaces().boxed(),
        (limits, run) in (limits(), prop::option::of(run())),
    ) -> ExecRequest {
        ExecRequest {
            argv, env, cwd, caller_cwd, namespaces, limits,
            run: run.map(Box::new),
            user: user.map(|(user, group)| UserSpec { user, group }),
            tty: tty.map(|(term, (rows, cols))| Terminal { term, size: Size { rows, cols, ..Size::default() } }),
            enter: enter.map(Box::new),
            ..ExecRequest::default()
        }
    }
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        exec().prop_map(|request| Request::Exec(Box::new(request))).boxed(),
        exec().prop_map(|request| Request::Explain(Box::new(request))).boxed(),
        ".*".prop_map(|command| Request::List(ListRequest { user: None, command })),
        named().prop_map(|verb| Request::Named(NamedRequest { user: None, verb })).boxed(),
        root_fs().prop_map(Request::RootFs),
        "[0-9a-f]{64}".prop_map(|digest| Request::TakeRoot(Digest::try_from(digest).unwrap())),
        Just(Request::Info),
    ]
}

/// Everything that reads bytes of the other side.
fn read_all(bytes: &[u8]) {
    let mut decoder = Decoder::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = decoder.space();
        let count = space.len().min(rest.len());
        space[..count].copy_from_slice(&rest[..count]);
        decoder.filled(count);
        rest = &rest[count..];
        while let Ok(Some(frame)) = decoder.next() {
            let _ = (FromHost::decode(frame), FromAgent::decode(frame));
        }
    }
    let _ = (Request::decode(bytes), Hello::scan(bytes));
    let _ = rmp_serde::from_slice::<Snapshot>(bytes);
    let _ = rmp_serde::from_slice::<RootFsAnswer>(bytes);
}

proptest! {
    #[test]
    fn requests_arrive_as_they_were_sent(request in request()) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes).unwrap();
        prop_assert_eq!(Request::decode(&bytes[HEADER..]), Ok(request));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        read_all(&bytes);
    }

    /// Nearly right is what random bytes never are.
    #[test]
    fn no_broken_request_makes_a_reader_panic(
        request in request(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read_all(&bytes);
        read_all(&bytes[..cut.index(bytes.len())]);
        read_all(&bytes[HEADER.min(bytes.len())..]);
    }
}
