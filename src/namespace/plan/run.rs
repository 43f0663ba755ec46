//! The plan of `nsvm run`: a root file system is put together with the agent's
//! rights and before anything is given up; then come the user namespace and
//! the others, and inside them what shows them (proc, sysfs).
//!
//! ```text
//! agent's rights: connector started, user namespace made, private mounts,
//!                 layers, /dev, /etc/resolv.conf
//! its own:        enter it, unshare, be connected, fork, hostname, proc,
//!                 sysfs, pivot_root
//! ```

use super::step::{Fresh, Layer, Step, System};
use super::{
    Credentials, Directory, IdMaps, Ids, NameServers, Parent, RESOLV_CONF, Refusal, confinement,
};
use crate::namespace::enter::Id;
use crate::namespace::idmap::{self, Block, IdRange};
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::limits::Limits;
use crate::namespace::network::Mode;
use crate::namespace::run::RunSpec;
use crate::namespace::spec::Propagation;

/// What the agent has found out for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// What the root is made of, the root itself first.
    pub layers: Vec<Layer>,
    /// The program's terminal is to be seen inside.
    pub has_terminal: bool,
    pub hostname: String,
    /// Where to start, inside.
    pub directory: Vec<u8>,
    /// A directory of the guest that is locked while the program runs.
    pub lock: Option<Vec<u8>>,
    /// The same, with others that run on it.
    pub shared: Option<Vec<u8>>,
}

/// What no program needs, and what tells or changes the guest as a whole: the
/// list of container engines.
const HIDDEN: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The steps for a program that `caller` runs within `limits`.
pub fn plan(
    spec: &RunSpec,
    limits: &Limits,
    caller: &Credentials,
    ground: &Ground,
    directory: &dyn Directory,
) -> Result<Vec<Step>, Refusal> {
    let maps = maps(caller, directory)?;
    let mapped = caller.uid != 0;
    let is_nat = spec.network == Mode::Nat;
    let mut steps = Vec::new();
    // The connector is not the program's, so not limited; nor is it to hold
    // what later steps open.
    steps.extend(is_nat.then_some(Step::StartConnector));
    steps.extend(confinement(limits));
    steps.extend(ground.lock.clone().map(Step::Lock));
    steps.extend(ground.shared.clone().map(Step::LockShared));
    steps.push(Step::MakeUserNamespace { owner: caller.clone(), maps: maps.clone() });
    prepared(spec, ground, Owners { maps: &maps, mapped }, directory, &mut steps);
    steps.push(Step::EnterUserNamespace);
    steps.push(Step::Unshare(kinds(spec)));
    // Before the fork: only this process's number is known to the connector.
    steps.extend(is_nat.then_some(Step::FinishConnector));
    steps.push(Step::Fork(Parent::default()));
    let root = Some(Id::Number(0));
    steps.push(Step::TakeIdentity { uid: root, gid: root });
    steps.push(Step::SetHostname(ground.hostname.clone()));
    steps.extend((spec.network == Mode::None).then_some(Step::RaiseLoopback));
    inside(spec, &mut steps);
    steps.push(Step::ChangeDirectory(ground.directory.clone()));
    if !spec.privileged {
        steps.push(Step::LimitCapabilities);
        steps.push(Step::NoNewPrivileges);
    }
    steps.push(Step::Exec);
    Ok(steps)
}

/// All but those of the user namespace, which is entered, and of the network
/// where that is the guest's.
fn kinds(spec: &RunSpec) -> Kinds {
    let own_net = spec.network != Mode::Host;
    let wanted = |kind: &Kind| *kind != Kind::User && (*kind != Kind::Net || own_net);
    Kind::ALL.into_iter().filter(wanted).collect()
}

/// Root stays every user it is; another user is root, and its subordinate ids
/// are the others, if it has some.
fn maps(caller: &Credentials, directory: &dyn Directory) -> Result<IdMaps, Refusal> {
    let all = |ids| -> Result<Vec<IdRange>, Refusal> {
        let blocks = directory.available(ids).map_err(Refusal)?;
        Ok(blocks.into_iter().map(|(id, count)| IdRange { inner: id, outer: id, count }).collect())
    };
    if caller.uid == 0 {
        return Ok(IdMaps { users: all(Ids::Users)?, groups: all(Ids::Groups)? });
    }
    let own = |ids, id| {
        let block = directory.subordinate(ids, caller.uid).ok();
        let block = block.map(|(outer, count)| Block { inner: None, outer, count });
        idmap::with_single(block.as_slice(), Some((0, id)))
    };
    Ok(IdMaps { users: own(Ids::Users, caller.uid), groups: own(Ids::Groups, caller.gid) })
}

/// Inside 0 is this number outside, which owns what is made for the program.
fn outer(ranges: &[IdRange], inner: u32) -> u32 {
    let within = |range: &&IdRange| inner >= range.inner && inner - range.inner < range.count;
    ranges.iter().find(within).map_or(0, |range| range.outer + (inner - range.inner))
}

/// Where the name servers are that answer inside: loopback has none.
fn name_servers(network: Mode, directory: &dyn Directory) -> Option<Vec<u8>> {
    match network {
        Mode::None => None,
        Mode::Host => Some(RESOLV_CONF.to_vec()),
        Mode::Nat => directory.name_servers().or_else(|| Some(RESOLV_CONF.to_vec())),
    }
}

/// Whose the files inside are.
#[derive(Clone, Copy)]
struct Owners<'a> {
    maps: &'a IdMaps,
    /// Whether those of the guest are shown as the maps say.
    mapped: bool,
}

/// What is put together with the agent's rights.
fn prepared(
    spec: &RunSpec,
    ground: &Ground,
    Owners { maps, mapped }: Owners<'_>,
    directory: &dyn Directory,
    steps: &mut Vec<Step>,
) {
    let owner = (outer(&maps.users, 0), outer(&maps.groups, 0));
    steps.push(Step::Unshare(Kinds::NONE.with(Kind::Mount)));
    steps.push(Step::Propagate(Propagation::Private));
    steps.push(Step::Stage);
    let layer = |layer: &Layer| Step::AddLayer(Layer { mapped, ..layer.clone() });
    steps.extend(ground.layers.iter().map(layer));
    for (at, mode) in [("/dev", 0o755), ("/dev/shm", 0o1777), ("/run", 0o755), ("/tmp", 0o1777)] {
        steps.push(Step::MountFresh(Fresh { at: at.into(), mode, owner }));
    }
    steps.push(Step::MakeDevices);
    // Group 5 is tty in every distribution, where it is mapped.
    let tty = outer(&maps.groups, 5);
    steps.push(Step::MountTerminals { group: if tty == 0 { owner.1 } else { tty } });
    steps.extend(ground.has_terminal.then_some(Step::ShowTerminal));
    // After /run, where the file often is a link to.
    let provided = |of| NameServers { of, owner, read_only: spec.read_only };
    let servers = name_servers(spec.network, directory).map(provided);
    steps.extend(servers.map(Step::ProvideNameServers));
    steps.extend(spec.read_only.then_some(Step::RootReadOnly));
}

/// What only those inside the namespaces can mount; the guest's own /proc and
/// /sys have to be in sight until then (`mount_too_revealing` in Linux).
fn inside(spec: &RunSpec, steps: &mut Vec<Step>) {
    steps.push(Step::TakeStage);
    steps.push(Step::MountSystem(System::Proc));
    // A new sysfs belongs to a new network namespace.
    let sys = if spec.network == Mode::Host { System::HostSysfs } else { System::Sysfs };
    steps.extend([sys, System::Cgroup, System::Mqueue].map(Step::MountSystem));
    if !spec.privileged {
        let bytes = |path: &&str| path.as_bytes().to_vec();
        steps.push(Step::Hide(HIDDEN.iter().map(bytes).collect()));
        steps.push(Step::MakeReadOnly(READ_ONLY.iter().map(bytes).collect()));
    }
    steps.push(Step::PivotRoot);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::plan::Changes;

    const LIMITS: Limits = Limits { pids: Some(9), ..Limits::NONE };

    struct Users;

    impl Directory for Users {
        fn id_of(&self, _: Ids, _: &str) -> Option<u32> {
            None
        }

        fn subordinate(&self, _: Ids, uid: u32) -> Result<(u32, u32), String> {
            if uid == 1000 { Ok((100_000, 65_536)) } else { Err("none".into()) }
        }

        fn available(&self, _: Ids) -> Result<Vec<(u32, u32)>, String> {
            Ok(vec![(0, u32::MAX)])
        }

        fn enterable(&self, _: u32) -> Kinds {
            Kinds::NONE
        }

        fn name_servers(&self) -> Option<Vec<u8>> {
            Some(b"/run/upstream".to_vec())
        }
    }

    fn steps(spec: &RunSpec, uid: u32) -> Vec<Step> {
        let layer = Layer {
            lower: b"/".to_vec(),
            at: b"/".to_vec(),
            changes: Changes::Forgotten,
            mapped: false,
        };
        let ground = Ground {
            layers: vec![layer],
            has_terminal: false,
            hostname: "h".to_owned(),
            directory: b"/".to_vec(),
            lock: None,
            shared: None,
        };
        let caller = Credentials { uid, gid: uid, groups: vec![] };
        plan(spec, &LIMITS, &caller, &ground, &Users).unwrap()
    }

    fn at(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> usize {
        steps.iter().position(wanted).unwrap_or_else(|| panic!("{steps:?}"))
    }

    #[test]
    fn everything_is_prepared_before_rights_are_given_up() {
        let steps = steps(&RunSpec::default(), 1000);
        let entered = at(&steps, |s| *s == Step::EnterUserNamespace);
        for (before, step) in [
            (true, at(&steps, |s| matches!(s, Step::AddLayer(_)))),
            (true, at(&steps, |s| *s == Step::MakeDevices)),
            (false, at(&steps, |s| matches!(s, Step::Fork(_)))),
            (false, at(&steps, |s| matches!(s, Step::TakeIdentity { .. }))),
        ] {
            assert_eq!(step < entered, before, "{:?}", steps[step]);
        }
        let forked = at(&steps, |s| matches!(s, Step::Fork(_)));
        let proc = at(&steps, |s| *s == Step::MountSystem(System::Proc));
        let pivot = at(&steps, |s| *s == Step::PivotRoot);
        assert!(forked < proc && proc < pivot);
        assert_eq!(steps.last(), Some(&Step::Exec));
    }

    #[test]
    fn all_eight_kinds_are_new() {
        let unshared = |spec| {
            let steps = steps(&spec, 1000);
            let find = |s: &Step| match s {
                Step::Unshare(kinds) if kinds.contains(Kind::Pid) => Some(*kinds),
                _ => None,
            };
            steps.iter().find_map(find).unwrap()
        };
        assert_eq!(unshared(RunSpec::default()).iter().count(), 7);
        assert!(unshared(with(Mode::Nat)).contains(Kind::Net));
        assert!(!unshared(with(Mode::Host)).contains(Kind::Net));
    }

    fn with(network: Mode) -> RunSpec {
        RunSpec { network, ..RunSpec::default() }
    }

    #[test]
    fn the_connector_is_outside_of_everything_and_knows_the_parent() {
        let steps = steps(&with(Mode::Nat), 1000);
        assert_eq!(steps[..2], [Step::StartConnector, Step::Confine(LIMITS)]);
        let made = at(&steps, |s| matches!(s, Step::Unshare(kinds) if kinds.contains(Kind::Net)));
        assert_eq!(steps[made + 1], Step::FinishConnector);
        assert!(matches!(steps[made + 2], Step::Fork(_)));
        assert!(!steps.contains(&Step::RaiseLoopback));
        for other in [Mode::None, Mode::Host] {
            let steps = self::steps(&with(other), 1000);
            assert_eq!(steps[0], Step::Confine(LIMITS));
            assert!(!steps.contains(&Step::FinishConnector));
            assert_eq!(steps.contains(&Step::RaiseLoopback), other == Mode::None);
        }
    }

    #[test]
    fn name_servers_are_those_that_answer_inside() {
        let servers = |spec: &RunSpec| {
            let find = |s: &Step| match s {
                Step::ProvideNameServers(servers) => Some(servers.clone()),
                _ => None,
            };
            steps(spec, 1000).iter().find_map(find)
        };
        assert_eq!(servers(&with(Mode::None)), None);
        assert_eq!(servers(&with(Mode::Host)).unwrap().of, b"/etc/resolv.conf");
        let nat = servers(&RunSpec { read_only: true, ..with(Mode::Nat) }).unwrap();
        assert_eq!((&nat.of[..], nat.owner), (&b"/run/upstream"[..], (1000, 1000)));
        assert!(nat.read_only);
        let steps = steps(&RunSpec { read_only: true, ..with(Mode::Nat) }, 1000);
        let run = at(&steps, |s| matches!(s, Step::MountFresh(fresh) if fresh.at == b"/run"));
        let provided = at(&steps, |s| matches!(s, Step::ProvideNameServers(_)));
        let fixed = at(&steps, |s| *s == Step::RootReadOnly);
        assert!(run < provided && provided < fixed);
    }

    #[test]
    fn a_user_is_root_inside_and_root_is_everybody() {
        let maps = |uid| maps(&Credentials { uid, gid: uid, groups: vec![] }, &Users).unwrap();
        let subids = IdRange { inner: 1, outer: 100_000, count: 65_536 };
        assert_eq!(maps(1000).users, [IdRange::single(0, 1000), subids]);
        assert_eq!(maps(7).groups, [IdRange::single(0, 7)]);
        assert_eq!(maps(0).users, [IdRange { inner: 0, outer: 0, count: u32::MAX }]);
        assert_eq!(outer(&maps(1000).groups, 5), 100_004);
        assert_eq!(outer(&maps(7).groups, 5), 0);
    }

    #[test]
    fn privileges_are_kept_only_when_asked_for() {
        let limits = |steps: &[Step]| steps.contains(&Step::NoNewPrivileges);
        assert!(limits(&steps(&RunSpec::default(), 1000)));
        let privileged = RunSpec { privileged: true, ..RunSpec::default() };
        let steps = steps(&privileged, 1000);
        assert!(!limits(&steps) && !steps.iter().any(|s| matches!(s, Step::Hide(_))));
    }
}
