//! Connections of podman and docker on this host that lead into a machine, made
//! on request and undone when the machine is removed.

pub mod docker;
pub mod podman;

use std::process::Command;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::inspect::ssh_port;
use super::ssh_config::ssh_access;
use super::{Context, Refusal};
use crate::fs::{Access, write_atomic};
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::store;

/// The first account of an image has this number: useradd(8) begins with it,
/// and Ignition and cloud-init call useradd.
const FIRST_UID: u32 = 1000;

/// Whose connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Podman,
    Docker,
}

/// What becomes of the connection that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsDefault {
    /// The new one takes its place.
    Yes,
    No,
}

/// What was made for a machine, kept with its files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Made {
    pub podman: bool,
    pub docker: bool,
}

/// Where the machine's API sockets are, for someone who comes by SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub machine: String,
    pub port: u16,
    /// The machine's user; root has the same key.
    pub user: String,
    pub identity: String,
    pub rootful: bool,
}

impl Route {
    /// The machine's way in, as of its current or last run.
    pub fn of(context: &Context, name: &MachineName) -> anyhow::Result<Self> {
        let config = context.store.load(name)?;
        let run = context.store.run_record(name);
        Ok(Self {
            machine: name.to_string(),
            port: ssh_port(&config, run.as_ref(), &context.store.history(name)),
            identity: context.store.paths(name).identity().display().to_string(),
            user: config.ssh.username,
            rootful: config.rootful,
        })
    }

    /// `ssh://` of podman's socket: the user's own, or root's.
    pub fn podman(&self, root: bool) -> String {
        let (user, socket) = if root || self.user == "root" {
            ("root", "/run/podman/podman.sock".to_owned())
        } else {
            (self.user.as_str(), format!("/run/user/{FIRST_UID}/podman/podman.sock"))
        };
        format!("ssh://{user}@127.0.0.1:{}{socket}", self.port)
    }

    /// The `Host` of the machine's SSH config.
    pub fn alias(&self) -> String {
        format!("nsvm-{}", self.machine)
    }
}

/// What was made for the machine.
pub fn made(context: &Context, name: &MachineName) -> Made {
    let text = std::fs::read(context.store.paths(name).connections()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Makes or renews the program's connection to the machine; says what else is
/// to be done.
pub fn connect(
    context: &Context,
    name: &MachineName,
    program: Program,
    default: AsDefault,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let _lock = context.store.lock(name)?;
    let route = Route::of(context, name)?;
    let before = made(context, name);
    // First, so that what is made half is undone, too.
    keep(context, name, with(before, program, true))?;
    let done = match program {
        Program::Podman => podman::connect(&context.podman_connections, &route, default),
        Program::Docker => {
            write_ssh_config(context, name)?;
            docker::connect(&route, default)
        }
    };
    if done.is_err() {
        keep(context, name, before)?;
    }
    done?;
    match program {
        Program::Podman => progress.note(format!("podman knows \"{name}\" and \"{name}-root\"")),
        Program::Docker => {
            let all = context.store.dirs().data.join("*").join("ssh.config");
            progress.note(format!(
                "docker knows the context \"{}\". It comes by ssh, which needs this line in \
                 ~/.ssh/config, once, before any Host:\n\n\tInclude \"{}\"\n",
                route.alias(),
                all.display()
            ));
        }
    }
    Ok(())
}

/// Takes the program's connection away, if one was made.
pub fn disconnect(context: &Context, name: &MachineName, program: Program) -> anyhow::Result<()> {
    let before = made(context, name);
    let route = Route::of(context, name)?;
    match program {
        Program::Podman if before.podman => {
            podman::disconnect(&context.podman_connections, &route)?;
        }
        Program::Docker if before.docker => docker::disconnect(&route)?,
        _ => {
            let text = format!("machine \"{name}\" has no connection of {}", program.word());
            return Err(Refusal::new(text).into());
        }
    }
    keep(context, name, with(before, program, false))
}

/// Takes away all that was made for the machine; what cannot be is a warning,
/// because the machine goes in any case.
pub fn forget(context: &Context, name: &MachineName, progress: &dyn Progress) {
    let made = made(context, name);
    for (program, there) in [(Program::Podman, made.podman), (Program::Docker, made.docker)] {
        if there && let Err(e) = disconnect(context, name, program) {
            progress.warn(format!("a connection of {} stays: {e:#}", program.word()));
        }
    }
}

/// Makes for the machine what another one of the same files had.
pub fn renew(context: &Context, name: &MachineName, made: Made, progress: &dyn Progress) {
    for (program, there) in [(Program::Podman, made.podman), (Program::Docker, made.docker)] {
        if there && let Err(e) = connect(context, name, program, AsDefault::No, progress) {
            progress.warn(format!("there is no connection of {} any more: {e:#}", program.word()));
        }
    }
}

/// What was made follows the port of this run.
pub fn refresh(context: &Context, name: &MachineName, progress: &dyn Progress) {
    let made = made(context, name);
    if made == Made::default() {
        return;
    }
    let renew = || -> anyhow::Result<()> {
        write_ssh_config(context, name)?;
        if made.podman {
            podman::connect(
                &context.podman_connections,
                &Route::of(context, name)?,
                AsDefault::No,
            )?;
        }
        Ok(())
    };
    if let Err(e) = renew() {
        progress.warn(format!("connections to \"{name}\" are not up to date: {e:#}"));
    }
}

/// The `Host` entry that docker's ssh reads.
fn write_ssh_config(context: &Context, name: &MachineName) -> anyhow::Result<()> {
    let path = context.store.paths(name).ssh_config();
    let entry = ssh_access(context, name)?.entry();
    Ok(write_atomic(&path, entry.as_bytes(), Access::Owner)
        .map_err(store::io_error("writing", &path))?)
}

fn keep(context: &Context, name: &MachineName, made: Made) -> anyhow::Result<()> {
    let path = context.store.paths(name).connections();
    let text = serde_json::to_vec_pretty(&made)?;
    Ok(write_atomic(&path, &text, Access::Owner).map_err(store::io_error("writing", &path))?)
}

fn with(made: Made, program: Program, there: bool) -> Made {
    match program {
        Program::Podman => Made { podman: there, ..made },
        Program::Docker => Made { docker: there, ..made },
    }
}

impl Program {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }
}

/// Runs a command of podman or docker to its end; its stdout, or what it
/// complained about.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = command.get_program().display().to_string();
    let ran = command.output().with_context(|| format!("running \"{shown}\""))?;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
    Err(Refusal::new(format!("\"{shown}\" failed: {said}")).into())
}

/// A name that somebody else has already.
fn taken(program: Program, name: &str) -> Refusal {
    let text = format!("{} has a connection \"{name}\" that is not nsvm's", program.word());
    Refusal::new(text).hint("Rename that one, or take another name for the machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_socket_of_its_own() {
        let route = Route {
            machine: "work".into(),
            port: 4242,
            user: "core".into(),
            identity: "/k".into(),
            rootful: false,
        };
        let user = "ssh://core@127.0.0.1:4242/run/user/1000/podman/podman.sock";
        assert_eq!(route.podman(false), user);
        assert_eq!(route.podman(true), "ssh://root@127.0.0.1:4242/run/podman/podman.sock");
        assert_eq!(route.alias(), "nsvm-work");
    }
}
