//! `nsvm run` in the agent: what a program's root is made of, and the program
//! as it is inside.

mod ground;
pub mod kept;
pub mod store;

use std::collections::BTreeMap;

use super::accounts::{Account, Accounts};
use super::environment::{PATH, Variables};
use super::failure::refused;
use super::program::Program;
use crate::namespace::plan::{self, Step};
use crate::namespace::run::RunSpec;
use crate::protocol::outcome::{FailedStep, Failure};
use crate::protocol::request::ExecRequest;

/// Where everything of runs is kept, below what survives a boot.
pub const STORE: &str = "/var/lib/nsvm";

/// The program of `request` and the steps that lead to it.
pub fn prepare(
    request: &ExecRequest,
    spec: &RunSpec,
    account: &Account,
    accounts: &Accounts<'_>,
) -> Result<(Program, Vec<Step>), Failure> {
    only_root()?;
    let ground = ground::find(request, spec, account)?;
    let caller = &account.credentials;
    let steps = plan::run::plan(spec, &request.limits, caller, &ground, accounts)
        .map_err(|e| refused(FailedStep::Namespaces, e.to_string()))?;
    let variables = variables(request);
    let program = Program::new(&request.argv, &variables)
        .map_err(|_| refused(FailedStep::Request, "an argument or variable holds a NUL byte"))?;
    Ok((program, steps))
}

/// Refuses whoever runs the agent without root's rights (`--local`).
pub fn only_root() -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let text = "a root file system of its own takes root's rights here";
    Err(refused(FailedStep::User, text))
}

/// Those of root in a system nothing is known about.
fn variables(request: &ExecRequest) -> Variables {
    let mut all: Variables = BTreeMap::new();
    let mut set = |name: &[u8], value: &[u8]| drop(all.insert(name.to_vec(), value.to_vec()));
    set(b"PATH", PATH.as_bytes());
    set(b"LANG", b"C.UTF-8");
    set(b"HOME", b"/root");
    set(b"USER", b"root");
    set(b"LOGNAME", b"root");
    set(b"SHELL", b"/bin/sh");
    // As container engines tell it: systemd and others ask.
    set(b"container", b"nsvm");
    if let Some(tty) = &request.tty {
        set(b"TERM", &tty.term);
    }
    for (name, value) in &request.env {
        set(name, value);
    }
    all
}
