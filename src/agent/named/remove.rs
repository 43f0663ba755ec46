//! Removing a named namespace: its processes end, then nothing is left.

use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};
use tokio::time::timeout;

use super::members::{self, Pins};
use super::record::{Record, Standing};
use super::{NamedNamespaces, group, refusal};
use crate::agent::failure::failed;
use crate::agent::process::Process;
use crate::namespace::named::Name;
use crate::namespace::plan::Credentials;
use crate::protocol::outcome::{FailedStep, Failure};

/// How long processes have to end by themselves: longer than a server takes
/// that closes its files, shorter than one waits for a command gladly.
const GRACE: Duration = Duration::from_secs(2);

/// How long the kernel may take for those it has been told to kill. Only one
/// that waits for a disk takes longer than a moment.
const KILLED: Duration = Duration::from_secs(10);

/// Removes it, if `caller` may.
pub async fn remove(
    all: &NamedNamespaces,
    caller: &Credentials,
    name: &Name,
    force: bool,
) -> Result<(), Failure> {
    let what = || format!("cannot remove the record of namespace \"{name}\"");
    let or = |result: std::io::Result<()>| {
        result.map_err(|e| failed(FailedStep::Namespaces, what(), &e))
    };
    match all.read(name) {
        Ok(None) if force => return Ok(()),
        // Nothing but its name is known.
        Err(_) if caller.uid == 0 => return or(all.records.forget(name)),
        _ => {}
    }
    let record = all.get(name, caller)?;
    match all.standing(&record) {
        Standing::Making => {
            return Err(refusal(format!("namespace \"{name}\" is being made; try again")));
        }
        Standing::Running(holder) => end_all(&record, holder, force).await?,
        Standing::OtherBoot | Standing::Unfinished | Standing::Ended => {}
    }
    group::end(&record, KILLED).await?;
    or(all.records.remove(&record))
}

/// Ends every process in it.
async fn end_all(record: &Record, holder: Process, at_once: bool) -> Result<(), Failure> {
    let name = &record.spec.name;
    let _pins = Pins::of(record, holder);
    if !at_once {
        members::ask_to_end(record, holder, GRACE).await;
    }
    if let Some(pidfd) = holder.hold() {
        // With a PID namespace all in it go with it.
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        let late =
            |_| refusal(format!("process {}, which holds \"{name}\", does not end", holder.pid));
        timeout(KILLED, members::ended(&pidfd)).await.map_err(late)?;
    }
    if members::kill(record, holder, KILLED).await {
        return Ok(());
    }
    Err(refusal(format!("the processes in namespace \"{name}\" do not end")))
}
