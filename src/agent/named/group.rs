//! The control group of a named namespace with limits. Its holder is in it from
//! the first step on, so it is empty only before and after.
//!
//! Its name follows from the record: a namespace that is made again under its
//! old name does not get the processes that are still in the old group.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::record::{Record, Standing};
use super::{NamedNamespaces, refusal};
use crate::agent::cgroup::{self, Cgroup, CgroupError, Cgroups, Confined};
use crate::agent::failure::failed;
use crate::protocol::outcome::{FailedStep, Failure};

/// None: it has no limits, and no group.
fn name(record: &Record) -> Option<String> {
    let limited = !record.spec.limits.are_none();
    limited.then(|| cgroup::named(record.spec.name.as_str(), record.created))
}

/// Makes it, with the limits.
pub fn make(record: &Record) -> Result<Option<Confined>, Failure> {
    let Some(name) = name(record) else { return Ok(None) };
    let limits = &record.spec.limits;
    let make = |cgroups: Cgroups| Ok(cgroups.create(&name, limits)?.shared(limits));
    Cgroups::of_system().and_then(make).map(Some).map_err(|e: CgroupError| e.failure())
}

/// For a program that joins it.
pub fn join(record: &Record) -> Result<Option<Confined>, Failure> {
    let Some(name) = name(record) else { return Ok(None) };
    let cgroups = Cgroups::of_system().map_err(|e| e.failure())?;
    Ok(Some(cgroups.named(&name).shared(&record.spec.limits)))
}

/// Kills all in it, also what has left the namespaces, and removes it.
pub async fn end(record: &Record, patience: Duration) -> Result<(), Failure> {
    let (Some(name), Ok(cgroups)) = (name(record), Cgroups::of_system()) else { return Ok(()) };
    let group = cgroups.named(&name);
    match timeout(patience, kill(&group)).await {
        Ok(done) => {
            let what = || format!("cannot remove {}", group.path().display());
            done.map_err(|e| failed(FailedStep::Limits, what(), &e))
        }
        Err(_) => {
            let name = &record.spec.name;
            Err(refusal(format!("the processes in the control group of \"{name}\" do not end")))
        }
    }
}

async fn kill(group: &Cgroup) -> io::Result<()> {
    group.kill()?;
    group.remove_when_empty().await
}

/// The groups of those that are no more.
pub fn left_over(all: &NamedNamespaces, cgroups: &Cgroups) -> Vec<Cgroup> {
    let records = all.records.names().into_iter().flatten();
    let records = records.filter_map(|name| all.records.read(&name).ok()?);
    let living =
        |record: &Record| matches!(all.standing(record), Standing::Running(_) | Standing::Making);
    let living: Vec<String> = records.filter(living).filter_map(|record| name(&record)).collect();
    cgroups.named_but(&living)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::named::record::tests::record;
    use crate::namespace::limits::Limits;

    #[test]
    fn only_what_has_limits_has_a_group_and_each_making_its_own() {
        let mut one = record("web");
        assert_eq!(name(&one), None);
        one.spec.limits = Limits { pids: Some(20), ..Limits::NONE };
        assert_eq!(name(&one).unwrap(), "ns-web-7");
        assert_eq!(name(&Record { created: 8, ..one }).unwrap(), "ns-web-8");
    }
}
