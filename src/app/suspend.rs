//! Suspending a machine: its memory goes to a file, and `start` goes on there.

use std::io;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::run::not_running;
use super::stop::find_supervisor;
use super::{Context, Refusal, hung, left_over};
use crate::control::client::{Client, Hung, hung_up, nobody_listens};
use crate::control::message::Request;
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::machine::suspended::Reason;

/// A supervisor that is ending answers nobody.
const LEAVING: Duration = Duration::from_secs(15);

/// Suspends the machine; one that is suspended is fine.
pub fn suspend(
    context: &Context,
    name: &MachineName,
    reason: Reason,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    context.store.load(name)?;
    let mut end = Instant::now() + LEAVING;
    let mut hung = false;
    loop {
        match left_over::settled_status(context, name) {
            Status::Suspended => return Ok(()),
            Status::Stopped => return Err(not_running(name).into()),
            Status::Broken { reasons } => {
                return Err(Refusal::new(format!("machine \"{name}\": {}", reasons.join("; ")))
                    .hint(format!("End its VM with `nsvm machine stop --force {name}`"))
                    .into());
            }
            Status::Starting | Status::Running => {}
        }
        match ask(context, name, reason, progress) {
            Ok(answer) => return Ok(answer?),
            Err(e) if (nobody_listens(&e) || hung_up(&e)) && Instant::now() < end => {
                find_supervisor(context, name)?;
            }
            Err(e) => match Hung::of(&e).filter(|_| !hung) {
                Some(found) => {
                    hung::end(context, name, found, |text| progress.warn(text))?;
                    (hung, end) = (true, Instant::now() + LEAVING);
                }
                None => {
                    return Err(
                        anyhow!(e).context(format!("waiting for \"{name}\" to be suspended"))
                    );
                }
            },
        }
    }
}

/// The outer error: the supervisor is not there, or ended without an answer.
fn ask(
    context: &Context,
    name: &MachineName,
    reason: Reason,
    progress: &dyn Progress,
) -> io::Result<Result<(), Refusal>> {
    let socket = context.store.paths(name).control_socket();
    let mut client = Client::ask(&socket, &Request::Suspend { brief: reason == Reason::Brief })?;
    Ok(Refusal::in_reply(client.last_reply(progress)?))
}
