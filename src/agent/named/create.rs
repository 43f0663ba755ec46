//! Making a named namespace.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::timeout;

use super::record::{Record, Standing};
use super::{NamedNamespaces, belongs_to, caller, group, may, members, refusal};
use crate::agent::failure::{failed, refused};
use crate::agent::launch::{self, Child, Streams};
use crate::agent::process::Process;
use crate::agent::report::Reports;
use crate::agent::sys;
use crate::namespace::kind::Kind;
use crate::namespace::named::{NamedSpec, hostname};
use crate::namespace::plan::Credentials;
use crate::protocol::outcome::{FailedStep, Failure, Outcome, Plan};
use crate::protocol::request::{ExecRequest, UserSpec};
use crate::protocol::signal;

/// How long a holder may take to get ready: some forks and mounts, and two
/// runs of newuidmap(1), on a guest that may be translated and busy.
const READY: Duration = Duration::from_secs(60);

/// How long a group may take to get empty once all in it are killed.
const GONE: Duration = Duration::from_secs(10);

/// How much of what a failed helper program says is told.
const LONGEST_COMPLAINT: u64 = 1000;

/// Makes it, or leaves nothing behind.
pub async fn create(
    all: &NamedNamespaces,
    user: Option<UserSpec>,
    spec: NamedSpec,
) -> Result<Record, Failure> {
    let caller = caller(user.clone())?;
    let request = request(user, &spec)?;
    let reserved = reserve(all, &caller, &spec)?;
    let made = make(all, &reserved, &request).await;
    if made.is_err() {
        undo(all, &reserved).await;
    }
    made
}

async fn make(
    all: &NamedNamespaces,
    reserved: &Record,
    request: &ExecRequest,
) -> Result<Record, Failure> {
    let (made, go) = start(reserved, request).await?;
    let kept = all.records.replace(&made).and_then(|()| Ok(rustix::io::write(&go, b"!")?));
    let what = || format!("cannot write the record of namespace \"{}\"", made.spec.name);
    kept.map_err(|e| failed(FailedStep::Namespaces, what(), &e)).map(|_| made)
}

/// The first error is the one to tell.
async fn undo(all: &NamedNamespaces, reserved: &Record) {
    if let Err(failure) = group::end(reserved, GONE).await {
        eprintln!("nsvm-agent: {}", failure.message);
    }
    if let Err(e) = all.records.remove(reserved) {
        eprintln!("nsvm-agent: cannot remove a record: {e}");
    }
}

/// The steps of making it.
pub fn explain(user: Option<UserSpec>, spec: &NamedSpec) -> Result<Plan, Failure> {
    launch::explain_hold(&request(user, spec)?, &spec.name)
}

/// What the holder is to be.
fn request(user: Option<UserSpec>, spec: &NamedSpec) -> Result<ExecRequest, Failure> {
    let wanted = &spec.namespaces;
    if wanted.kinds.is_empty() {
        return Err(refusal("a named namespace needs a kind of namespace".to_owned()));
    }
    if let Some(name) = &wanted.hostname {
        hostname(name).map_err(|e| refusal(e.to_string()))?;
        if !wanted.wants(Kind::Uts) {
            return Err(refusal("a host name needs a UTS namespace".to_owned()));
        }
    }
    let (namespaces, limits) = (wanted.clone(), spec.limits);
    Ok(ExecRequest { user, namespaces, limits, ..ExecRequest::default() })
}

/// Takes the name, also from one that is gone. No other request of this agent
/// comes in between, and another agent's record makes this fail.
fn reserve(
    all: &NamedNamespaces,
    caller: &Credentials,
    spec: &NamedSpec,
) -> Result<Record, Failure> {
    let name = &spec.name;
    let what = || format!("cannot write the record of namespace \"{name}\"");
    let told = |e: io::Error| match e.kind() {
        io::ErrorKind::AlreadyExists => exists(spec),
        _ => failed(FailedStep::Namespaces, what(), &e),
    };
    if let Some(old) = all.read(name)? {
        if !may(caller, &old) {
            return Err(belongs_to(&old));
        }
        if matches!(all.standing(&old), Standing::Running(_) | Standing::Making) {
            return Err(exists(spec));
        }
        all.records.remove(&old).map_err(told)?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let record = Record {
        uid: caller.uid,
        gid: caller.gid,
        created: i64::try_from(now.as_secs()).unwrap_or(0),
        boot_id: all.boot_id.clone(),
        maker: Process::own().map_err(told)?,
        holder: None,
        namespaces: [].into(),
        spec: spec.clone(),
    };
    all.records.create(&record).map_err(told)?;
    Ok(record)
}

fn exists(spec: &NamedSpec) -> Failure {
    let name = &spec.name;
    refusal(format!(
        "namespace \"{name}\" exists already; run programs in it with `nsvm ns exec {name}`, or \
         remove it with `nsvm ns rm {name}`"
    ))
}

/// A holder that is ready, and what lets it stay: without a byte on it, it
/// ends as soon as this is closed.
async fn start(reserved: &Record, request: &ExecRequest) -> Result<(Record, OwnedFd), Failure> {
    let what = "cannot make the namespaces";
    let group = group::make(reserved)?;
    let mut child = launch::hold(request, &reserved.spec.name, group)?;
    let Some(Streams::Pipes { stdin, stderr, .. }) = child.streams.take() else {
        return Err(refused(FailedStep::Launch, what));
    };
    let Ok(ready) = timeout(READY, ready(&child)).await else {
        // Its whole group: nobody would reap what stays behind.
        sys::signal_group(child.pid, signal::KILL);
        members::ended(&child.pidfd).await;
        let _ = child.outcome();
        let text = format!("{what}: not within {} s", READY.as_secs());
        return Err(refused(FailedStep::Launch, text));
    };
    let pid = ready.map_err(|e| failed(FailedStep::Launch, what, &e))?;
    let pid = pid.map_err(|failure| with_complaint(failure, stderr))?;
    let holder = Process::with_number(pid).map_err(|e| failed(FailedStep::Launch, what, &e))?;
    let namespaces = members::namespaces(pid);
    Ok((Record { holder: Some(holder), namespaces, ..reserved.clone() }, stdin))
}

/// Waits until the first process has ended and the holder is executed; the
/// holder's number.
async fn ready(child: &Child) -> io::Result<Result<u32, Failure>> {
    // Closed by the exec, or by the end of whoever failed.
    let reports = sys::watch_borrowed(child.reports.as_fd())?;
    let mut bytes = Vec::new();
    loop {
        let mut guard = reports.readable().await?;
        match (&child.reports).read_to_end(&mut bytes) {
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
            Err(e) => return Err(e),
        }
    }
    let exited = sys::watch_borrowed(child.pidfd.as_fd())?;
    let outcome = loop {
        match child.outcome()? {
            Some(outcome) => break outcome,
            None => exited.readable().await?.clear_ready(),
        }
    };
    let reports = Reports::read(&bytes[..]);
    Ok(match (reports.failure, reports.forked, outcome) {
        (Some(failure), ..) => Err(failure),
        (None, _, Outcome::OutOfMemory { .. }) => {
            let text = "--memory is too little for the process that holds the namespaces";
            Err(refused(FailedStep::Limits, text))
        }
        (None, Some(pid), Outcome::Exited(0)) => Ok(pid),
        (None, _, outcome) => {
            Err(refused(FailedStep::Launch, format!("the holder's parent ended with {outcome:?}")))
        }
    })
}

/// newuidmap(1) says on stderr why it refuses.
fn with_complaint(failure: Failure, stderr: OwnedFd) -> Failure {
    let mut text = Vec::new();
    let _ = std::fs::File::from(stderr).take(LONGEST_COMPLAINT).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).trim().replace('\n', "; ");
    if text.is_empty() {
        return failure;
    }
    Failure { message: format!("{}: {text}", failure.message), ..failure }
}
