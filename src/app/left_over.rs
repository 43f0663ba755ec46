//! A QEMU that its supervisor left while the guest was being suspended or
//! resumed: the guest is in its file, and what is left is ended. So is a copy of a
//! template that does not know whose it is.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::Context;
use crate::fs::is_locked;
use crate::host;
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::qemu::qmp::Qmp;

/// A QEMU that lives answers in no time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Leaves either a VM whose guest runs or a suspended state, never both.
pub fn settle(context: &Context, name: &MachineName) -> anyhow::Result<()> {
    let paths = context.store.paths(name);
    let half_begun = paths.beginning().exists();
    if !(half_begun || context.store.is_suspended(name)) || !is_locked(&paths.vm_lock())? {
        return Ok(());
    }
    let alive = || is_locked(&paths.vm_lock()).unwrap_or(true);
    if let Ok((monitor, _events)) = Qmp::connect(&paths.qmp_socket(), PATIENCE, alive) {
        // An nsvm that knew nothing of the state may have booted the guest.
        let runs = || monitor.query_status(PATIENCE).is_ok_and(|status| status == "running");
        if !half_begun && runs() {
            tracing::warn!("the guest runs: its suspended state is given up");
            return Ok(context.store.discard_suspension(name)?);
        }
        tracing::info!(half_begun, "ending a QEMU whose guest is not to go on");
        let _ = monitor.quit(PATIENCE);
    }
    let end = Instant::now() + PATIENCE;
    while alive() {
        if Instant::now() >= end {
            return kill(context, name);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A QEMU has made its sockets within this time of its start, on a busy host too.
const SOCKETS: Duration = Duration::from_secs(2);

/// The machine's status. A QEMU whose supervisor was killed as it started it has not made
/// its sockets yet, one that was killed has still its locks: neither is lost.
pub(super) fn settled_status(context: &Context, name: &MachineName) -> Status {
    let end = Instant::now() + SOCKETS;
    loop {
        match context.store.status(name) {
            Status::Broken { .. } if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            status => return status,
        }
    }
}

fn kill(context: &Context, name: &MachineName) -> anyhow::Result<()> {
    let uuid = context.store.load(name)?.uuid;
    let pid = context.store.run_record(name).map(|run| run.qemu_pid);
    let killed = match pid {
        Some(pid) => host::kill_process_with_argument(pid, &uuid).context("ending QEMU")?,
        None => false,
    };
    if !killed {
        bail!("a QEMU with \"-uuid {uuid}\" among its arguments is left over: end it");
    }
    await_unlocked(context, name)
}

/// Returns when a QEMU that was killed has let go of the machine: its arguments are
/// gone first, then its memory is freed, and its locks go last (exit(2) of Linux).
pub(super) fn await_unlocked(context: &Context, name: &MachineName) -> anyhow::Result<()> {
    let lock = context.store.paths(name).vm_lock();
    let end = Instant::now() + PATIENCE;
    while is_locked(&lock)? {
        if Instant::now() >= end {
            bail!("the QEMU of machine \"{name}\" was killed and has not ended yet: try again");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
