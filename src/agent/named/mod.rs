//! Named namespaces of this system: making, telling, entering, removing.
//!
//! ```text
//! create: record (reserves the name) -> group -> plan -> holder -> record -> "go" to the holder
//! exec:   record -> group -> the plan of nsenter(1) with the holder as target
//! remove: SIGTERM, SIGKILL to all inside -> holder -> group -> record
//! ```
//!
//! Everything is in the records and in the kernel, nothing in the agent: the
//! next agent goes on where one was killed. Whoever made a namespace may use
//! it, and root.

mod create;
mod enter;
mod group;
pub mod holder;
mod members;
mod record;
mod remove;
mod view;

use std::path::Path;

use super::accounts::Accounts;
use super::cgroup::{Cgroup, Cgroups, Confined};
use super::failure::{failed, refused};
use super::launch;
use crate::namespace::named::{Name, Named};
use crate::namespace::plan::Credentials;
use crate::protocol::frame::Kind as Frame;
use crate::protocol::outcome::{FailedStep, Failure, Plan};
use crate::protocol::request::{ExecRequest, NamedRequest, NamedVerb, UserSpec};
use record::{Record, Records, Standing};

/// What answers a request.
pub enum Answer {
    Named(Vec<Named>),
    Plan(Plan),
}

/// Those below one state directory.
#[derive(Debug)]
pub struct NamedNamespaces {
    records: Records,
    boot_id: String,
}

impl NamedNamespaces {
    pub fn below(state: &Path, boot_id: &str) -> Self {
        Self { records: Records::below(state), boot_id: boot_id.to_owned() }
    }

    /// Does what is asked.
    pub async fn answer(&self, request: NamedRequest) -> Result<Answer, Failure> {
        let user = request.user;
        match request.verb {
            NamedVerb::Create(spec) => {
                let made = create::create(self, user, *spec).await?;
                Ok(Answer::Named(vec![view::tell(self, &made)]))
            }
            NamedVerb::Explain(spec) => create::explain(user, &spec).map(Answer::Plan),
            NamedVerb::List => self.list(&caller(user)?).map(Answer::Named),
            NamedVerb::Inspect(name) => {
                let record = self.get(&name, &caller(user)?)?;
                fitting(vec![view::tell(self, &record)]).map(Answer::Named)
            }
            NamedVerb::Remove { name, force } => {
                remove::remove(self, &caller(user)?, &name, force).await?;
                Ok(Answer::Named(Vec::new()))
            }
        }
    }

    /// The request with its named namespace as what nsenter(1) enters, and the
    /// control group to join.
    pub fn resolve(
        &self,
        request: ExecRequest,
    ) -> Result<(ExecRequest, Option<Confined>), Failure> {
        match request.inside.clone() {
            None => Ok((request, None)),
            Some(name) => enter::enter(self, &name, request),
        }
    }

    /// The control groups of those that are no more; processes may be in them.
    pub fn left_over(&self, cgroups: &Cgroups) -> Vec<Cgroup> {
        group::left_over(self, cgroups)
    }

    /// Those of `caller`; root's are everyone's.
    fn list(&self, caller: &Credentials) -> Result<Vec<Named>, Failure> {
        let names = self
            .records
            .names()
            .map_err(|e| failed(FailedStep::Namespaces, "cannot list the named namespaces", &e))?;
        let mut all = Vec::new();
        for name in names {
            match self.read(&name) {
                Ok(Some(record)) if may(caller, &record) => all.push(view::tell(self, &record)),
                Ok(_) => {}
                // One that is broken does not hide the others.
                Err(_) if caller.uid == 0 => all.push(view::broken(name)),
                Err(_) => {}
            }
        }
        fitting(all)
    }

    /// The record of this name, if `caller` may have it.
    fn get(&self, name: &Name, caller: &Credentials) -> Result<Record, Failure> {
        let none = || refusal(format!("no namespace is named \"{name}\""));
        let record = self.read(name)?.ok_or_else(none)?;
        if may(caller, &record) {
            return Ok(record);
        }
        Err(belongs_to(&record))
    }

    fn read(&self, name: &Name) -> Result<Option<Record>, Failure> {
        let what = || format!("cannot read the record of namespace \"{name}\"");
        self.records.read(name).map_err(|e| failed(FailedStep::Namespaces, what(), &e))
    }

    fn standing(&self, record: &Record) -> Standing {
        record.standing(&self.boot_id)
    }
}

/// Whether the list fits its frame.
fn fitting(all: Vec<Named>) -> Result<Vec<Named>, Failure> {
    let length = rmp_serde::to_vec_named(&all).map_or(usize::MAX, |bytes| bytes.len());
    if length <= Frame::Named.max_payload() {
        return Ok(all);
    }
    Err(refusal("there are too many named namespaces, or processes in them, to list".to_owned()))
}

/// Who asks.
fn caller(user: Option<UserSpec>) -> Result<Credentials, Failure> {
    let request = ExecRequest { user, ..ExecRequest::default() };
    Ok(launch::account(&request, &Accounts::of_system())?.credentials)
}

fn may(caller: &Credentials, record: &Record) -> bool {
    caller.uid == 0 || caller.uid == record.uid
}

fn belongs_to(record: &Record) -> Failure {
    refusal(format!(
        "namespace \"{}\" belongs to user {}",
        record.spec.name,
        view::user(record.uid)
    ))
}

fn refusal(text: String) -> Failure {
    refused(FailedStep::Namespaces, text)
}
