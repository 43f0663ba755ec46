use super::*;
use crate::namespace::enter::{EnterSpec, Id};

#[test]
fn a_holder_is_a_child_that_nobody_waits_for() {
    let spec = NamespaceSpec {
        kinds: kinds(&[Kind::User, Kind::Uts]),
        map_user: ROOT,
        hostname: Some("inner".into()),
        // The holder would end with its parent.
        kill_child: Some(9),
        ..NamespaceSpec::default()
    };
    let limits = Limits { memory: Some(32 << 20), ..Limits::NONE };
    let steps = holding(&spec, &limits, &caller(), &Files).unwrap();
    assert_eq!(
        steps,
        [
            Step::Confine(limits),
            Step::BecomeUser(caller()),
            Step::EnterDirectory(StartDirectory::Asked(b"/".to_vec())),
            Step::Unshare(spec.kinds),
            Step::Fork(Parent { leaves: true, ..Parent::default() }),
            Step::MapUser(IdRange::single(0, 1000)),
            Step::SetHostname("inner".into()),
            Step::Hold,
        ]
    );
}

#[test]
fn a_program_starts_in_a_directory_inside() {
    let spec = EnterSpec {
        target: Some(7),
        target_started: Some(70),
        kinds: kinds(&[Kind::User, Kind::Mount]),
        setuid: Some(Id::Number(0)),
        preserve_credentials: true,
        start_inside: true,
        ..EnterSpec::default()
    };
    let create = NamespaceSpec::default();
    let wanted = Wanted { enter: Some(&spec), create: &create, limits: &Limits::NONE };
    let start = StartDirectory::Home(b"/home/core".to_vec());
    assert_eq!(
        plan(wanted, &caller(), start.clone(), &Files).unwrap(),
        [
            Step::BecomeUser(caller()),
            Step::HoldTarget { pid: 7, kinds: spec.kinds },
            Step::CheckStarted { pid: 7, started: 70 },
            Step::TryJoin(kinds(&[Kind::Mount])),
            Step::Join(spec.kinds),
            Step::TakeIdentity { uid: Some(Id::Number(0)), gid: None },
            Step::EnterDirectory(start),
            Step::Exec,
        ]
    );
}
