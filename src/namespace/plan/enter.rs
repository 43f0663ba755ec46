//! The part of a plan that enters namespaces of others, as nsenter(1) does.

use super::{Directory, Handle, Parent, Refusal, Step};
use crate::namespace::enter::{EnterSpec, Id, Place};
use crate::namespace::kind::{Kind, Kinds};

const USER: Kinds = Kinds::NONE.with(Kind::User);

/// Appends the steps of `spec`.
pub fn entering(
    spec: &EnterSpec,
    directory: &dyn Directory,
    steps: &mut Vec<Step>,
) -> Result<(), Refusal> {
    named_files(spec, steps);
    if spec.follow_context {
        let text = "no target PID specified for --follow-context";
        steps.push(Step::FollowContext(spec.target.ok_or_else(|| refusal(text))?));
    }
    let from_target = from_target(spec, directory)?;
    hold(spec, from_target, steps)?;
    target_files(spec, steps)?;
    let joined = joined(spec, from_target);
    if joined.is_empty() {
        return Err(refusal("no namespace specified"));
    }
    other_handles(spec, steps)?;
    let becomes_root = joined.contains(Kind::User) && !spec.preserve_credentials;
    steps.extend(becomes_root.then_some(Step::TryDropGroups));
    steps.extend([Step::TryJoin(joined.without(USER)), Step::Join(joined)]);
    directories(spec, steps);
    steps.extend(spec.env.then_some(Step::TakeEnvironment));
    steps.extend(spec.join_cgroup.then_some(Step::MoveToCgroup));
    if joined.contains(Kind::Pid) && !spec.no_fork {
        steps.push(Step::Fork(Parent::default()));
    }
    identity(spec, becomes_root, steps);
    steps.extend((spec.keep_caps && joined.contains(Kind::User)).then_some(Step::KeepCapabilities));
    Ok(())
}

fn refusal(text: &str) -> Refusal {
    Refusal(text.to_owned())
}

/// Files that were named are opened before anything else happens.
fn named_files(spec: &EnterSpec, steps: &mut Vec<Step>) {
    for file in &spec.files {
        steps.push(Step::Open(Handle::Namespace(file.kind), file.path.to_vec()));
    }
    for (handle, place) in [(Handle::Root, &spec.root), (Handle::Directory, &spec.wd)] {
        if let Some(Place::Path(path)) = place {
            steps.push(Step::Open(handle, path.to_vec()));
        }
    }
}

fn with_files(spec: &EnterSpec) -> Kinds {
    spec.files.iter().map(|file| file.kind).collect()
}

/// The kinds that are the target's.
fn from_target(spec: &EnterSpec, directory: &dyn Directory) -> Result<Kinds, Refusal> {
    let mut kinds = spec.kinds;
    if spec.all {
        let pid = spec.target.ok_or_else(|| refusal("no target PID specified"))?;
        kinds = kinds.union(directory.enterable(pid));
    }
    Ok(kinds.without(with_files(spec)))
}

fn hold(spec: &EnterSpec, kinds: Kinds, steps: &mut Vec<Step>) -> Result<(), Refusal> {
    if spec.all {
        steps.extend(spec.target.map(Step::CheckTarget));
    }
    if kinds.is_empty() && spec.net_socket.is_none() && !spec.user_parent {
        return Ok(());
    }
    let pid = spec.target.ok_or_else(|| refusal("no target PID specified"))?;
    steps.push(Step::HoldTarget { pid, kinds });
    steps.extend(spec.target_started.map(|started| Step::CheckStarted { pid, started }));
    Ok(())
}

/// Files of the target that other options need.
fn target_files(spec: &EnterSpec, steps: &mut Vec<Step>) -> Result<(), Refusal> {
    let follows = [spec.setuid, spec.setgid].contains(&Some(Id::Follow));
    let wanted = [
        (spec.root == Some(Place::Target), Handle::Root, "root"),
        (spec.wd == Some(Place::Target), Handle::Directory, "cwd"),
        (spec.env, Handle::Environment, "environ"),
        (follows, Handle::Process, ""),
    ];
    for (_, handle, name) in wanted.into_iter().filter(|(wanted, ..)| *wanted) {
        steps.push(Step::Open(handle, of_target(spec, name)?.1));
    }
    if spec.join_cgroup {
        steps.push(Step::OpenCgroup(of_target(spec, "cgroup")?.0));
    }
    Ok(())
}

/// The target and its file of this name.
fn of_target(spec: &EnterSpec, name: &str) -> Result<(u32, Vec<u8>), Refusal> {
    let none = || Refusal(format!("neither filename nor target pid supplied for {name}"));
    let pid = spec.target.ok_or_else(none)?;
    Ok((pid, format!("/proc/{pid}/{name}").into_bytes()))
}

fn joined(spec: &EnterSpec, from_target: Kinds) -> Kinds {
    let mut all = from_target.union(with_files(spec));
    if spec.net_socket.is_some() {
        all.insert(Kind::Net);
    }
    if spec.user_parent {
        all.insert(Kind::User);
    }
    all
}

/// Namespaces that neither a file nor the target's own stand for.
fn other_handles(spec: &EnterSpec, steps: &mut Vec<Step>) -> Result<(), Refusal> {
    if spec.user_parent {
        if !with_files(spec).contains(Kind::User) {
            let path = of_target(spec, "ns/user")?.1;
            steps.push(Step::Open(Handle::Namespace(Kind::User), path));
        }
        steps.push(Step::OpenParentUser(Kind::User));
    }
    if let Some(socket) = spec.net_socket {
        let pid = spec.target.ok_or_else(|| refusal("no target PID specified"))?;
        steps.push(Step::OpenSocketNamespace { pid, socket });
    }
    Ok(())
}

fn directories(spec: &EnterSpec, steps: &mut Vec<Step>) {
    let moves = spec.wd.is_some() || spec.wdns.is_some();
    if spec.root.is_some() {
        steps.extend((!moves).then_some(Step::RememberDirectory));
        steps.push(Step::EnterRoot);
    }
    steps.extend(spec.wdns.as_ref().map(|dir| Step::OpenDirectoryInside(dir.to_vec())));
    if moves || spec.root.is_some() {
        steps.push(Step::ReturnToDirectory);
    }
}

/// In a user namespace one is root unless something else was asked for.
fn identity(spec: &EnterSpec, becomes_root: bool, steps: &mut Vec<Step>) {
    let root = becomes_root.then_some(Id::Number(0));
    let (uid, gid) = (spec.setuid.or(root), spec.setgid.or(root));
    if uid.is_some() || gid.is_some() {
        steps.push(Step::TakeIdentity { uid, gid });
    }
}
