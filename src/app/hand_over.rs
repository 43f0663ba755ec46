//! After an upgrade: a supervisor of an older nsvm makes room for one of this.
//! The VM is not touched, and commands that run find their way by themselves.

use std::time::{Duration, UNIX_EPOCH};

use super::{Context, Refusal, start};
use crate::control::client::{Client, hung_up, nobody_listens};
use crate::control::message::{PROTOCOL, Reply, Request};
use crate::machine::build::Build;
use crate::machine::name::MachineName;
use crate::store::{Phase, RunRecord};

/// A supervisor decides at once.
const ANSWER: Duration = Duration::from_secs(10);

/// This program.
pub fn own(context: &Context) -> Build {
    let written = context.program.metadata().and_then(|found| found.modified()).ok();
    let since = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        written: u64::try_from(since.as_millis()).unwrap_or(0),
        protocol: PROTOCOL,
    }
}

/// Replaces the machine's supervisor if it is an older one that can be
/// replaced now. Refused is one that this nsvm cannot talk to.
pub fn settle(context: &Context, name: &MachineName) -> anyhow::Result<()> {
    let Some(_) = older(context, name) else { return Ok(()) };
    // Whoever changes the machine goes first; one of several commands does it.
    let Ok(_lock) = context.store.lock(name) else { return Ok(()) };
    let Some(run) = older(context, name) else { return Ok(()) };
    match ask(context, name) {
        Ok(Answer::Granted) => start::spawn_supervisor(context, name, None),
        Ok(Answer::Gone) => Ok(()),
        Ok(Answer::Refused(why)) => {
            tracing::info!(why, "the older supervisor stays");
            understood(name, &run)
        }
        Err(e) => {
            tracing::info!("asking the older supervisor to hand over: {e}");
            understood(name, &run)
        }
    }
}

/// The run whose supervisor is to be replaced.
fn older(context: &Context, name: &MachineName) -> Option<RunRecord> {
    let run = context.store.run_record(name)?;
    let own = own(context);
    let is_older = run.supervisor.as_ref().is_none_or(|running| own.supersedes(running));
    (is_older && run.phase == Phase::Running).then_some(run)
}

enum Answer {
    Granted,
    /// Nobody is there.
    Gone,
    Refused(String),
}

fn ask(context: &Context, name: &MachineName) -> std::io::Result<Answer> {
    let socket = context.store.paths(name).control_socket();
    let mut client = match Client::ask(&socket, &Request::HandOver) {
        Err(e) if nobody_listens(&e) => return Ok(Answer::Gone),
        asked => asked?,
    };
    match client.reply_within(ANSWER) {
        Ok(Reply::Failed { message, .. }) => Ok(Answer::Refused(message)),
        Err(e) if hung_up(&e) => Ok(Answer::Granted),
        Err(e) => Err(e),
        Ok(_) => Ok(Answer::Granted),
    }
}

/// An older supervisor that stays is good enough while it speaks this protocol.
fn understood(name: &MachineName, run: &RunRecord) -> anyhow::Result<()> {
    let spoken = run.supervisor.as_ref().map_or(1, |running| running.protocol);
    if spoken == PROTOCOL {
        return Ok(());
    }
    let version = run.supervisor.as_ref().map_or("older", |running| &running.version);
    let hint = format!(
        "End its supervisor, process {}: the VM runs on, and the next command starts another \
         supervisor",
        run.supervisor_pid
    );
    let message = format!(
        "machine \"{name}\" is supervised by nsvm {version}, which speaks protocol {spoken} and \
         not {PROTOCOL}"
    );
    Err(Refusal::new(message).hint(hint).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_that_cannot_be_understood_is_named_with_the_way_out() {
        let supervised = |supervisor| RunRecord::example(Phase::Running, supervisor);
        let name = "a".parse().unwrap();
        let build = |protocol| Build { version: "0.0.9".into(), written: 0, protocol };
        assert!(understood(&name, &supervised(None)).is_ok());
        assert!(understood(&name, &supervised(Some(build(PROTOCOL)))).is_ok());
        let other = supervised(Some(build(PROTOCOL + 1)));
        let refused = understood(&name, &other).unwrap_err().downcast::<Refusal>().unwrap();
        assert!(refused.message.contains("nsvm 0.0.9"), "{refused:?}");
        assert!(refused.hint.unwrap().contains("process 1:"));
    }
}
