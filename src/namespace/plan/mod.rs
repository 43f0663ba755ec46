//! The steps that lead from the agent to a program in its namespaces: pure,
//! the order is that of unshare(1) and nsenter(1) in util-linux 2.41.

mod create;
mod enter;
mod maps;
pub mod run;
mod step;
#[cfg(test)]
mod tests;

pub use create::RESOLV_CONF;
pub use step::{
    Binds, Changes, Clock, Credentials, Fresh, Handle, IdMaps, Layer, NameServers, Parent,
    StartDirectory, Step, System,
};

use super::enter::EnterSpec;
use super::kind::Kinds;
use super::limits::Limits;
use super::network::Network;
use super::spec::NamespaceSpec;
use maps::Maps;

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
    /// The kinds of this process's namespaces that could be entered: those
    /// the kernel has, and not the user namespace that is ours already.
    fn enterable(&self, pid: u32) -> Kinds;
    /// The file that names the name servers, where `/etc/resolv.conf` names
    /// only such as answer this network namespace alone.
    fn name_servers(&self) -> Option<Vec<u8>>;
}

/// Why there is no plan, in util-linux's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// What a program gets: limits, namespaces it enters, then new ones.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub enter: Option<&'a EnterSpec>,
    pub create: &'a NamespaceSpec,
    pub limits: &'a Limits,
}

/// The steps for a program that `caller` runs.
pub fn plan(
    wanted: Wanted<'_>,
    caller: &Credentials,
    start: StartDirectory,
    directory: &dyn Directory,
) -> Result<Vec<Step>, Refusal> {
    let (mut steps, mut start) = (Vec::new(), Some(start));
    // Both take root; the connector is not the program's, so not limited.
    steps.extend((wanted.create.network == Network::Nat).then_some(Step::StartConnector));
    steps.extend(confinement(wanted.limits));
    steps.push(Step::BecomeUser(caller.clone()));
    let inside = wanted.enter.is_some_and(|spec| spec.start_inside);
    steps.extend(start.take_if(|_| !inside).map(Step::EnterDirectory));
    if let Some(spec) = wanted.enter {
        enter::entering(spec, directory, &mut steps)?;
    }
    steps.extend(start.map(Step::EnterDirectory));
    let name_servers = create::name_servers(wanted.create, directory)?;
    let spec = &*create::with_place_for(name_servers.as_ref(), wanted.create);
    let maps = Maps::resolve(spec, caller, directory)?;
    create::creation(spec, &maps, &mut steps);
    create::own_maps(spec, &maps, &mut steps);
    create::file_systems(spec, name_servers, &mut steps);
    create::identity(spec, &mut steps);
    steps.push(Step::Exec);
    Ok(steps)
}

/// Comes early, because it takes root, and so that nothing escapes it.
fn confinement(limits: &Limits) -> Option<Step> {
    (!limits.are_none()).then_some(Step::Confine(*limits))
}

/// The steps for a process of `caller` that keeps new namespaces in being. It
/// is a child whose parent has left: nobody here has to wait for it.
pub fn holding(
    create: &NamespaceSpec,
    limits: &Limits,
    caller: &Credentials,
    directory: &dyn Directory,
) -> Result<Vec<Step>, Refusal> {
    let alone = NamespaceSpec { fork: true, kill_child: None, ..create.clone() };
    let wanted = Wanted { enter: None, create: &alone, limits };
    // A directory of the user's would be busy for as long.
    let mut steps = plan(wanted, caller, StartDirectory::Asked(b"/".to_vec()), directory)?;
    for step in &mut steps {
        match step {
            Step::Fork(parent) => parent.leaves = true,
            Step::Exec => *step = Step::Hold,
            _ => {}
        }
    }
    Ok(steps)
}
