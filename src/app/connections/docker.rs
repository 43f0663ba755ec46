//! docker's context of a machine: `ssh://nsvm-NAME`, where nsvm-NAME is the
//! `Host` of the SSH config that nsvm writes beside the machine's key.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{AsDefault, Program, Route, output, taken};
use crate::app::Refusal;

/// Makes or renews the context.
pub fn connect(route: &Route, default: AsDefault) -> anyhow::Result<()> {
    let docker = program()?;
    let name = route.alias();
    let host = format!("host=ssh://{name}");
    let verb = match described(&docker, &name) {
        Some(text) if text == description(route) => "update",
        Some(_) => return Err(taken(Program::Docker, &name).into()),
        None => "create",
    };
    let mut make = Command::new(&docker);
    make.args(["context", verb, &name, "--description", &description(route)]);
    output(make.args(["--docker", &host]))?;
    if default == AsDefault::Yes {
        output(Command::new(&docker).args(["context", "use", &name]))?;
    }
    Ok(())
}

/// Removes the context, if it is ours.
pub fn disconnect(route: &Route) -> anyhow::Result<()> {
    let docker = program()?;
    let name = route.alias();
    if described(&docker, &name) != Some(description(route)) {
        return Ok(());
    }
    // By force, because it may be the one in use: docker then uses its own.
    output(Command::new(&docker).args(["context", "rm", "--force", &name])).map(drop)
}

fn program() -> Result<PathBuf, Refusal> {
    which::which("docker").map_err(|_| {
        Refusal::new("there is no docker on PATH")
            .hint("Install the docker command line, or use the machine by `nsvm machine ssh`")
    })
}

/// By which a context is known as ours.
fn description(route: &Route) -> String {
    format!("nsvm machine {}", route.machine)
}

/// The description of the context, if there is one; empty when it has none.
fn described(docker: &Path, name: &str) -> Option<String> {
    let text = output(Command::new(docker).args(["context", "inspect", name])).ok()?;
    let all: Value = serde_json::from_str(&text).ok()?;
    let described = all.pointer("/0/Metadata/Description").and_then(Value::as_str);
    Some(described.unwrap_or_default().to_owned())
}
