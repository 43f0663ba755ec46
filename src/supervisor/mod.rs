//! One process a running machine: the only writer of its run.
//!
//! ```text
//! clients --requests--> driver --actions--> QEMU (QMP, process)
//!    ^                    ^  |
//!    |  feed: events      |  +--> bring_up: launch or adopt, readiness, link
//!    +--------------------+
//! ```
//!
//! It never parses what commands want: it joins a client's connection to a
//! stream of the guest agent and relays bytes. Only for programs that ask in
//! JSON (`exec`) does it speak the agent's protocol itself.

mod bring_up;
mod clients;
mod clock;
mod driver;
mod exec;
mod feed;
mod guest;
mod idle;
mod idle_watch;
mod launch;
pub mod lifecycle;
mod link_keeper;
mod news;
mod readiness;
mod resume;
mod suspend;
pub mod template;
mod trim;
mod uses;
mod vm;
mod volumes;
mod wake;
mod way;

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;

use crate::app::refusal::Refusal;
use crate::app::start::GREETING;
use crate::app::{Context, left_over};
use crate::control::message::{Reply, line};
use crate::control::server::Server;
use crate::fs::{Lock, create_dir_owner_only};
use crate::host;
use crate::machine::name::MachineName;

/// A supervisor that is just ending is waited for this long.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(10);

/// Supervises one run of the machine, from the start or from wherever an
/// earlier supervisor left it, to the VM's end. Says on stdout, once, that it
/// listens, or why it cannot.
pub fn supervise(
    context: &Context,
    name: &MachineName,
    timeout: Option<Duration>,
) -> anyhow::Result<()> {
    host::leave_session()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match prepare(context, name) {
            Ok((alive, server)) => {
                greet(format!("{GREETING}\n").as_bytes());
                driver::run(context, name, timeout, server, alive).await
            }
            Err(e) => {
                let hint = e.downcast_ref::<Refusal>().and_then(|refusal| refusal.hint.clone());
                greet(&line(&Reply::failed(format!("{e:#}"), hint)));
                Err(e)
            }
        }
    })
}

fn prepare(context: &Context, name: &MachineName) -> anyhow::Result<(Lock, Server)> {
    let paths = context.store.paths(name);
    let alive = Lock::acquire(&paths.alive_lock(), PREDECESSOR_PATIENCE)
        .with_context(|| format!("becoming the supervisor of machine \"{name}\""))?;
    for dir in [paths.state_dir(), paths.runtime_dir()] {
        create_dir_owner_only(&dir).with_context(|| format!("creating \"{}\"", dir.display()))?;
    }
    left_over::settle(context, name)?;
    template::undo_half_begun(context, name)?;
    let server = Server::bind(&paths.control_socket()).inspect_err(|_| {
        // Of a start that comes to nothing; that of a living VM is not empty.
        let _ = std::fs::remove_dir(paths.runtime_dir());
    });
    let server =
        server.with_context(|| format!("listening on \"{}\"", paths.control_socket().display()))?;
    Ok((alive, server))
}

/// Whoever started us may be gone already: then nobody needs to know.
fn greet(bytes: &[u8]) {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}
