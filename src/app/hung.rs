//! A supervisor that is there and answers nobody: stopped, or stuck.

use super::{Context, Refusal};
use crate::control::client::Hung;
use crate::machine::name::MachineName;

/// Ends the machine's supervisor that hangs; `say` is told. The VM runs on, and
/// the next command finds it. Only a process that is proven to be that
/// supervisor is ended.
pub fn end(
    context: &Context,
    name: &MachineName,
    hung: Hung,
    say: impl Fn(String),
) -> anyhow::Result<()> {
    let Some((pid, argument)) = proven(hung).or_else(|| recorded(context, name)) else {
        return Err(refusal(name, "").into());
    };
    say(format!(
        "the supervisor of machine \"{name}\", process {pid}, does not answer and is ended; \
         the VM runs on"
    ));
    let process = format!(", process {pid},");
    match crate::host::kill_process_with_argument(pid, &argument) {
        // If it is not there any more, another command was faster.
        Ok(ended) if ended || hung.pid.is_some() => Ok(()),
        Ok(_) => Err(refusal(name, &process).into()),
        Err(e) => Err(anyhow::Error::from(e).context(refusal(name, &process))),
    }
}

/// Whom the kernel saw listening on the machine's own socket, and what is among
/// its arguments.
fn proven(hung: Hung) -> Option<(u32, String)> {
    Some((hung.pid?, "supervise".to_owned()))
}

/// Where the kernel does not say: who wrote the run record, if it is a
/// supervisor of this machine.
fn recorded(context: &Context, name: &MachineName) -> Option<(u32, String)> {
    let pid = context.store.run_record(name)?.supervisor_pid;
    Some((pid, format!("supervise {name}")))
}

fn refusal(name: &MachineName, process: &str) -> Refusal {
    Refusal::new(format!("the supervisor of machine \"{name}\"{process} does not answer")).hint(
        "End that process (`nsvm supervise` in a list of them): the VM runs on, and the next \
         command starts another supervisor",
    )
}
