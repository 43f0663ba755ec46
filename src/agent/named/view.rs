//! Records as they are told to the host.

use super::NamedNamespaces;
use super::members;
use super::record::{Record, Standing};
use crate::agent::accounts::Accounts;
use crate::namespace::named::{Name, Named, NamedLimits, State};

/// The record and what has become of it.
pub fn tell(all: &NamedNamespaces, record: &Record) -> Named {
    let standing = all.standing(record);
    let gone = why_gone(standing);
    let mut told = Named {
        name: record.spec.name.clone(),
        state: if gone.is_none() { State::Running } else { State::Gone },
        reason: gone.map(str::to_owned),
        created: record.created,
        user: user(record.uid),
        uid: record.uid,
        kinds: record.namespaces.keys().copied().collect(),
        hostname: record.spec.namespaces.hostname.clone(),
        limits: NamedLimits::of(&record.spec.limits),
        ..nothing(record.spec.name.clone())
    };
    if let Standing::Running(holder) = standing {
        let number = |(kind, id): (&_, &u64)| (name_of(*kind), *id);
        told.namespaces = record.namespaces.iter().map(number).collect();
        told.pid = Some(holder.pid);
        told.processes = members::all(record, holder);
        told.processes.sort_unstable();
    }
    told
}

fn name_of(kind: crate::namespace::kind::Kind) -> String {
    kind.option().to_owned()
}

/// One whose record cannot be read: a power cut, most likely.
pub fn broken(name: Name) -> Named {
    Named { reason: Some("its record cannot be read".to_owned()), ..nothing(name) }
}

fn nothing(name: Name) -> Named {
    Named {
        name,
        state: State::Gone,
        reason: None,
        created: 0,
        user: user(0),
        uid: 0,
        kinds: Vec::new(),
        hostname: None,
        limits: None,
        namespaces: std::collections::BTreeMap::new(),
        pid: None,
        processes: Vec::new(),
    }
}

/// None: it is there, or will be in a moment.
pub const fn why_gone(standing: Standing) -> Option<&'static str> {
    match standing {
        Standing::Running(_) | Standing::Making => None,
        Standing::OtherBoot => Some("the machine has been started since it was made"),
        Standing::Unfinished => Some("the agent ended before it was made"),
        Standing::Ended => Some("the process that held it has ended"),
    }
}

/// A user's name, or else its number.
pub fn user(uid: u32) -> String {
    Accounts::of_system().name_of(uid).unwrap_or_else(|| uid.to_string())
}
