//! Running a program in a named namespace: nsenter(1) with its holder as the
//! target, as the user that made it.

use std::fs;

use super::record::{Record, Standing};
use super::{NamedNamespaces, caller, group, refusal, view};
use crate::agent::cgroup::Confined;
use crate::agent::process::Process;
use crate::namespace::enter::{EnterSpec, Id};
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::named::Name;
use crate::namespace::spec::NamespaceSpec;
use crate::protocol::outcome::Failure;
use crate::protocol::request::{ExecRequest, UserSpec};

/// `request`, to be run in the namespace of this name, and the control group
/// that it is to join.
pub fn enter(
    all: &NamedNamespaces,
    name: &Name,
    request: ExecRequest,
) -> Result<(ExecRequest, Option<Confined>), Failure> {
    let makes = request.namespaces != NamespaceSpec::default();
    if request.enter.is_some() || makes || !request.limits.are_none() {
        let text = "a program in a named namespace enters and makes no others, and has its limits";
        return Err(refusal(text.to_owned()));
    }
    let record = all.get(name, &caller(request.user.clone())?)?;
    let standing = all.standing(&record);
    if let Some(why) = view::why_gone(standing) {
        let text = format!("namespace \"{name}\" is gone: {why}; make it again with");
        return Err(refusal(format!("{text} `nsvm ns create {name}`")));
    }
    let Standing::Running(holder) = standing else {
        return Err(refusal(format!("namespace \"{name}\" is being made; try again")));
    };
    let owner = UserSpec { user: record.uid.to_string(), group: Some(record.gid.to_string()) };
    let enter = Some(Box::new(target(&record, holder)));
    let limits = record.spec.limits;
    let request = ExecRequest { user: Some(owner), enter, inside: None, limits, ..request };
    Ok((request, group::join(&record)?))
}

/// The holder's namespaces. In a user namespace the program is root where root
/// is mapped, and keeps its groups, as a program that unshare(1) starts.
fn target(record: &Record, holder: Process) -> EnterSpec {
    let kinds: Kinds = record.namespaces.keys().copied().collect();
    let root = |file: &str| {
        let map = || fs::read_to_string(format!("/proc/{}/{file}", holder.pid)).ok();
        let mapped = kinds.contains(Kind::User) && map().is_some_and(|text| maps_root(&text));
        mapped.then_some(Id::Number(0))
    };
    EnterSpec {
        target: Some(holder.pid),
        target_started: Some(holder.started),
        kinds,
        setuid: root("uid_map"),
        setgid: root("gid_map"),
        preserve_credentials: true,
        start_inside: true,
        ..EnterSpec::default()
    }
}

/// Whether some block begins with 0 inside: the first column.
fn maps_root(map: &str) -> bool {
    map.lines().any(|line| line.split_whitespace().next() == Some("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_mapped_by_a_block_that_begins_with_it() {
        assert!(maps_root("         0       1000          1\n"));
        assert!(maps_root("1000 1000 1\n0 100000 5\n"));
        assert!(!maps_root("1000 0 1\n"));
        assert!(!maps_root(""));
    }
}
