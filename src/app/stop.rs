//! Stopping a machine: ask, wait, and only then insist.

use std::io;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::{Context, Refusal, hung, left_over, start};
use crate::control::client::{Client, Hung, hung_up, nobody_listens};
use crate::control::message::Request;
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::status::Status;

/// How long a guest may take to shut down, unless told otherwise: systemd
/// gives a stuck service 90 s.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A supervisor that is ending answers nobody. It only waits for its last
/// clients to read.
const LEAVING: Duration = Duration::from_secs(15);

/// What is being started as it ends has become another program within this time.
const LETTING_GO: Duration = Duration::from_secs(2);

/// How often it is looked at meanwhile: no lock call has a deadline.
const POLL: Duration = Duration::from_millis(20);

/// What a stop shall be like.
#[derive(Debug, Clone, Copy)]
pub struct StopRequest {
    /// End the VM without asking the guest, and give up a suspended state.
    pub force: bool,
    pub timeout: Duration,
}

/// Stops the machine; one that is stopped is fine. One that is suspended stays
/// so: nothing of it runs, and what it was doing is not lost.
pub fn stop(
    context: &Context,
    name: &MachineName,
    request: StopRequest,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    context.store.load(name)?;
    end_vm(context, name, request, progress)?;
    if context.store.status(name) != Status::Suspended {
        return Ok(());
    }
    if !request.force {
        progress.note(format!(
            "It is suspended: `nsvm machine start {name}` resumes it, \
             `nsvm machine stop --force {name}` gives up what it was doing"
        ));
        return Ok(());
    }
    let lock = context.store.lock(name)?;
    left_over::settle(context, name)?;
    context.store.discard_suspension(name)?;
    drop(lock);
    // A guest that ran all the same.
    end_vm(context, name, request, progress)
}

/// Ends the VM, if there is one. A suspended state is left alone.
pub(super) fn end_vm(
    context: &Context,
    name: &MachineName,
    request: StopRequest,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let mut end = Instant::now() + LEAVING;
    let mut hung = false;
    loop {
        match left_over::settled_status(context, name) {
            Status::Stopped | Status::Suspended => return Ok(()),
            Status::Broken { .. } if request.force => return end_lost_vm(context, name),
            Status::Broken { reasons } => {
                return Err(Refusal::new(format!("machine \"{name}\": {}", reasons.join("; ")))
                    .hint(format!("End its VM with `nsvm machine stop --force {name}`"))
                    .into());
            }
            Status::Starting | Status::Running => {}
        }
        match ask(context, name, request).and_then(|client| await_end(client, progress)) {
            Ok(answer) => {
                answer?;
                await_locks(context, name);
                return Ok(());
            }
            Err(e) if (nobody_listens(&e) || hung_up(&e)) && Instant::now() < end => {
                find_supervisor(context, name)?;
            }
            Err(e) => match Hung::of(&e).filter(|_| !hung) {
                Some(found) => {
                    hung::end(context, name, found, |text| progress.warn(text))?;
                    (hung, end) = (true, Instant::now() + LEAVING);
                }
                None => {
                    return Err(anyhow!(e).context(format!("waiting for \"{name}\" to stop")));
                }
            },
        }
    }
}

/// A program that the supervisor was just starting holds its locks, too, until it has become
/// another (fork(2), flock(2)): then the machine seems to run for a moment longer.
fn await_locks(context: &Context, name: &MachineName) {
    let end = Instant::now() + LETTING_GO;
    let stands = || matches!(context.store.status(name), Status::Stopped | Status::Suspended);
    // It may also have been started again.
    while !stands() && Instant::now() < end {
        std::thread::sleep(POLL);
    }
}

/// A VM without a supervisor gets a new one; one that is ending is left to it.
pub(super) fn find_supervisor(context: &Context, name: &MachineName) -> anyhow::Result<()> {
    if !context.store.is_supervised(name) && context.store.status(name) == Status::Running {
        return start::spawn_supervisor(context, name, None);
    }
    std::thread::sleep(POLL);
    Ok(())
}

fn ask(context: &Context, name: &MachineName, request: StopRequest) -> io::Result<Client> {
    let timeout_ms = u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX);
    let request = Request::Stop { force: request.force, timeout_ms };
    Client::ask(&context.store.paths(name).control_socket(), &request)
}

/// The outer error: the supervisor ended without an answer.
fn await_end(mut client: Client, progress: &dyn Progress) -> io::Result<Result<(), Refusal>> {
    Ok(Refusal::in_reply(client.last_reply(progress)?))
}

/// The VM's sockets are gone: end the very process that holds its lock.
fn end_lost_vm(context: &Context, name: &MachineName) -> anyhow::Result<()> {
    let config = context.store.load(name)?;
    let pid = context.store.run_record(name).map(|run| run.qemu_pid);
    let ended = match pid {
        Some(pid) => crate::host::kill_process_with_argument(pid, &config.uuid)?,
        None => false,
    };
    if ended {
        return left_over::await_unlocked(context, name);
    }
    Err(Refusal::new(format!("the VM of machine \"{name}\" cannot be identified for certain"))
        .hint(format!(
            "End the QEMU process that has \"-uuid {}\" among its arguments",
            config.uuid
        ))
        .into())
}
