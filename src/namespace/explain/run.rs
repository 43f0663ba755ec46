//! The steps of `nsvm run` in words.

use super::{mapped, shown};
use crate::namespace::plan::{Changes, Layer, Step, System};

/// What a step does, if it is one of these.
pub fn what(step: &Step) -> Option<String> {
    Some(match step {
        Step::Lock(dir) => format!("lock {} until the program ends", shown(dir)),
        Step::LockShared(dir) => {
            format!("keep {} from being removed until the program ends", shown(dir))
        }
        Step::MakeUserNamespace { owner, maps } => {
            format!("have a user namespace made that user {} owns ({})", owner.uid, mapped(maps))
        }
        Step::Stage => "mount an empty file system to put the root together in".to_owned(),
        Step::AddLayer(layer) => layered(layer),
        Step::MountFresh(fresh) => format!("mount an empty {} in memory", shown(&fresh.at)),
        Step::MakeDevices => "make null, zero, full, random, urandom and tty in /dev".to_owned(),
        Step::MountTerminals { .. } => "mount a devpts of its own on /dev/pts".to_owned(),
        Step::ShowTerminal => "show the program's terminal as /dev/console".to_owned(),
        Step::ProvideNameServers(servers) => {
            format!("show a copy of {} as /etc/resolv.conf", shown(&servers.of))
        }
        Step::RootReadOnly => "make the root read-only".to_owned(),
        Step::EnterUserNamespace => "enter that user namespace".to_owned(),
        Step::RaiseLoopback => "bring the loopback interface up".to_owned(),
        Step::TakeStage => "take over the staged root, mounts included".to_owned(),
        Step::MountSystem(system) => mounted(*system).to_owned(),
        Step::Hide(paths) => format!("hide {}", list(paths)),
        Step::MakeReadOnly(paths) => format!("make read-only: {}", list(paths)),
        Step::PivotRoot => {
            "pivot_root: the staged root becomes the root, the old one is detached".to_owned()
        }
        Step::LimitCapabilities => "drop the capabilities that containers do without".to_owned(),
        Step::NoNewPrivileges => "gain no privileges by set-user-id programs".to_owned(),
        _ => return None,
    })
}

/// What such a step brings beyond itself.
pub fn details(step: &Step) -> Vec<String> {
    let text = match step {
        Step::AddLayer(Layer { mapped: true, .. }) => {
            "an id-mapped mount: files of root are those of root inside"
        }
        Step::AddLayer(_) => "an overlay: the files below are never written",
        Step::MountSystem(System::Proc) => "shows the processes of the PID namespace",
        Step::ProvideNameServers(_) => "name servers that answer in the program's network",
        Step::PivotRoot => "mounts and files of the other side are out of reach",
        Step::MakeUserNamespace { .. } => {
            "user: user and group ids, capabilities, user_namespaces(7)"
        }
        _ => return Vec::new(),
    };
    vec![text.to_owned()]
}

fn layered(layer: &Layer) -> String {
    let changes = match &layer.changes {
        Changes::Forgotten => "changes in memory, forgotten at the end".to_owned(),
        Changes::Kept(dir) => format!("changes kept in {}", shown(dir)),
    };
    format!("lay {} below {} inside, {changes}", shown(&layer.lower), shown(&layer.at))
}

const fn mounted(system: System) -> &'static str {
    match system {
        System::Proc => "mount a new proc on /proc",
        System::Sysfs => "mount a new sysfs on /sys, read-only",
        System::HostSysfs => "show the guest's /sys, read-only",
        System::Cgroup => "mount cgroup2 on /sys/fs/cgroup, read-only, where there is one",
        System::Mqueue => "mount a new mqueue on /dev/mqueue",
    }
}

fn list(paths: &[Vec<u8>]) -> String {
    paths.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ")
}
