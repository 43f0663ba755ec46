//! The part of a plan that makes namespaces and sets them up.

use std::borrow::Cow;

use super::maps::Maps;
use super::{Binds, Clock, Directory, Parent, Refusal, Step};
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::network::Network;
use crate::namespace::spec::{NamespaceSpec, Propagation, SetGroups};

/// The file to be shown as `/etc/resolv.conf`, if the guest's own is of no use
/// in the new network.
pub fn name_servers(
    spec: &NamespaceSpec,
    directory: &dyn Directory,
) -> Result<Option<Vec<u8>>, Refusal> {
    if spec.network != Network::Nat {
        return Ok(None);
    }
    let file = directory.name_servers();
    // Shown in a mount that is shared, the whole machine would see it.
    if let (Some(_), Some(Propagation::Shared | Propagation::Unchanged)) = (&file, spec.propagation)
    {
        let text = "--network nat gives /etc/resolv.conf other name servers here, which \
                    --propagation shared or unchanged would give to the whole machine";
        return Err(Refusal(text.to_owned()));
    }
    Ok(file)
}

/// Another `/etc/resolv.conf` takes a mount namespace.
pub fn with_place_for<'a>(
    name_servers: Option<&Vec<u8>>,
    spec: &'a NamespaceSpec,
) -> Cow<'a, NamespaceSpec> {
    if name_servers.is_none() || spec.wants(Kind::Mount) {
        return Cow::Borrowed(spec);
    }
    let kinds = spec.kinds.union(Kinds::NONE.with(Kind::Mount));
    Cow::Owned(NamespaceSpec { kinds, ..spec.clone() })
}

pub fn creation(spec: &NamespaceSpec, maps: &Maps, steps: &mut Vec<Step>) {
    let binds = spec.binds();
    // From inside a new mount or user namespace nobody outside would see, or
    // nothing would allow, the mounts.
    let by_binder = !binds.is_empty() && (spec.wants(Kind::Mount) || spec.wants(Kind::User));
    if by_binder {
        steps.push(Step::StartBinder(binds.clone()));
    }
    if maps.need_helper() {
        steps.push(Step::StartIdMapper(maps.by_helper.clone()));
    }
    steps.extend(spec.owner.map(|(uid, gid)| Step::BecomeOwner { uid, gid }));
    if !spec.kinds.is_empty() {
        steps.push(Step::Unshare(spec.kinds));
    }
    if maps.need_helper() {
        steps.push(Step::FinishIdMapper);
    }
    match spec.network {
        Network::Bare => {}
        Network::Loopback => steps.push(Step::LoopbackUp),
        Network::Nat => steps.push(Step::FinishConnector),
    }
    steps.extend(spec.boottime.map(|seconds| Step::ClockOffset(Clock::Boottime, seconds)));
    steps.extend(spec.monotonic.map(|seconds| Step::ClockOffset(Clock::Monotonic, seconds)));
    let binds = match (binds.is_empty(), by_binder) {
        (true, _) => Binds::None,
        (false, true) => Binds::ByBinder,
        (false, false) => Binds::Itself(binds),
    };
    steps.extend(fork_or_bind(spec, binds));
}

/// A new PID namespace has a file only once a child is in it: so the parent
/// binds after the fork.
fn fork_or_bind(spec: &NamespaceSpec, binds: Binds) -> Option<Step> {
    if spec.fork {
        let NamespaceSpec { kill_child, forward_signals, .. } = *spec;
        let parent = Parent { kill_child, forward_signals, leaves: false, binds };
        return Some(Step::Fork(parent));
    }
    match binds {
        Binds::None => None,
        Binds::ByBinder => Some(Step::FinishBinder),
        Binds::Itself(files) => Some(Step::Bind(files)),
    }
}

/// Since Linux 3.19 a group map may be written without privilege only after
/// setgroups(2) was denied for good.
pub fn own_maps(spec: &NamespaceSpec, maps: &Maps, steps: &mut Vec<Step>) {
    steps.extend(maps.user.map(Step::MapUser));
    if let Some(group) = maps.group {
        steps.push(Step::ControlSetgroups(SetGroups::Deny));
        steps.push(Step::MapGroup(group));
    }
    steps.extend(spec.setgroups.map(Step::ControlSetgroups));
    steps.extend(spec.hostname.clone().map(Step::SetHostname));
}

pub fn file_systems(spec: &NamespaceSpec, name_servers: Option<Vec<u8>>, steps: &mut Vec<Step>) {
    let propagation = spec.propagation.unwrap_or(Propagation::Private);
    if spec.wants(Kind::Mount) && propagation != Propagation::Unchanged {
        steps.push(Step::Propagate(propagation));
    }
    if let Some(of) = name_servers {
        let root = spec.root.as_ref().map(|root| root.to_vec()).unwrap_or_default();
        steps.push(Step::ShowNameServers { of, at: [&root[..], RESOLV_CONF].concat() });
    }
    let bytes = |path: &serde_bytes::ByteBuf| path.to_vec();
    let early = spec.root.is_some() && spec.load_interp.as_ref().is_some_and(|l| is_fixed(l));
    if early {
        interpreter(spec, PROC_BINFMT, true, steps);
    }
    steps.extend(spec.root.as_ref().map(bytes).map(Step::ChangeRoot));
    let root_implies = spec.root.as_ref().map(|_| b"/".to_vec());
    let dir = spec.wd.as_ref().map(bytes).or(root_implies);
    steps.extend(dir.map(Step::ChangeDirectory));
    if let Some(dir) = &spec.mount_proc {
        let make_private = spec.root.is_none() && propagation != Propagation::Private;
        steps.push(Step::MountProc { dir: dir.to_vec(), make_private });
    }
    if let Some(dir) = &spec.mount_binfmt {
        steps.push(Step::MountBinfmt(dir.to_vec()));
        if !early {
            interpreter(spec, dir, false, steps);
        }
    }
}

/// Where programs look for name servers (resolv.conf(5)).
pub const RESOLV_CONF: &[u8] = b"/etc/resolv.conf";

/// Where the kernel offers to mount `binfmt_misc`.
pub const PROC_BINFMT: &[u8] = b"/proc/sys/fs/binfmt_misc";

/// Whether the interpreter is opened at its registration (flag `F`): one
/// from outside the new root has to be.
fn is_fixed(line: &[u8]) -> bool {
    line.rsplit(|byte| *byte == b':')
        .next()
        .is_some_and(|flags| flags.len() < line.len() && flags.contains(&b'F'))
}

fn interpreter(spec: &NamespaceSpec, dir: &[u8], mount: bool, steps: &mut Vec<Step>) {
    let Some(line) = &spec.load_interp else { return };
    steps.extend(mount.then(|| Step::MountBinfmt(dir.to_vec())));
    steps.push(Step::LoadInterpreter { dir: dir.to_vec(), line: line.to_vec() });
}

pub fn identity(spec: &NamespaceSpec, steps: &mut Vec<Step>) {
    steps.extend(spec.setgid.map(Step::SetGroup));
    steps.extend(spec.setuid.map(Step::SetUser));
    if spec.keep_caps && spec.wants(Kind::User) {
        steps.push(Step::KeepCapabilities);
    }
}
