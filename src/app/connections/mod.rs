//! Connections of podman and docker on this host that lead into a machine, made
//! on request and undone when the machine is removed.

pub mod docker;
pub mod podman;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::inspect::ssh_port;
use super::ssh_config::ssh_access;
use super::{Context, Refusal, wait};
use crate::fs::{Access, write_atomic};
use crate::host::Bounded;
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::store;

/// The first account of an image has this number, unless it was given another:
/// useradd(8) begins with it, and Ignition and cloud-init call useradd.
const FIRST_UID: u32 = 1000;

/// podman and docker only write a file for these verbs.
const PATIENCE: Duration = Duration::from_secs(30);

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

impl Made {
    /// What they are called, for people.
    pub fn names(self, machine: &MachineName) -> Vec<String> {
        let podman = format!("podman's connections \"{machine}\" and \"{machine}-root\"");
        let docker = format!("docker's context \"{}\"", alias(machine.as_str()));
        let all = [(self.podman, podman), (self.docker, docker)];
        all.into_iter().filter_map(|(there, name)| there.then_some(name)).collect()
    }
}

/// Where the machine's API sockets are, for someone who comes by SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub machine: String,
    pub port: u16,
    /// The machine's user; root has the same key.
    pub user: String,
    /// The user's number in the guest.
    pub uid: u32,
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
            uid: config.ssh.uid.unwrap_or(FIRST_UID),
            user: config.ssh.username,
            rootful: config.rootful,
        })
    }

    /// `ssh://` of podman's socket: the user's own, or root's.
    pub fn podman(&self, root: bool) -> String {
        let (user, socket) = if root || self.user == "root" {
            ("root", "/run/podman/podman.sock".to_owned())
        } else {
            (self.user.as_str(), format!("/run/user/{}/podman/podman.sock", self.uid))
        };
        format!("ssh://{user}@127.0.0.1:{}{socket}", self.port)
    }

    /// The `Host` of the machine's SSH config.
    pub fn alias(&self) -> String {
        alias(&self.machine)
    }
}

fn alias(machine: &str) -> String {
    format!("nsvm-{machine}")
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
    context.store.load(name)?;
    wait::let_sshd_come(context, name);
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
    context.store.load(name)?;
    let _lock = context.store.lock(name)?;
    undo(context, name, program)
}

/// The same under the machine's lock.
fn undo(context: &Context, name: &MachineName, program: Program) -> anyhow::Result<()> {
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

/// Takes away all that was made for the machine, whose lock is held; what cannot be is a warning,
/// because the machine goes in any case.
pub fn forget(context: &Context, name: &MachineName, progress: &dyn Progress) {
    let made = made(context, name);
    for (program, there) in [(Program::Podman, made.podman), (Program::Docker, made.docker)] {
        if there && let Err(e) = undo(context, name, program) {
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
    wait::let_sshd_come(context, name);
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
    let ran = run(command).with_context(|| format!("running \"{shown}\""))?;
    let (status, stdout, stderr) = ran;
    match status {
        Some(status) if status.success() => Ok(stdout),
        Some(_) => Err(Refusal::new(format!("\"{shown}\" failed: {}", stderr.trim())).into()),
        None => {
            let text = format!("\"{shown}\" did not end within {} s", PATIENCE.as_secs());
            Err(Refusal::new(text).hint("Look whether that program works by itself").into())
        }
    }
}

/// How it ended, if it did, and what it printed: to files, since a pipe that
/// nobody reads would stop it.
fn run(command: &mut Command) -> io::Result<(Option<ExitStatus>, String, String)> {
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let status = Bounded::start(command, PATIENCE)?.wait()?;
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok((status, read(&mut stdout)?, read(&mut stderr)?))
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
            uid: 1234,
            identity: "/k".into(),
            rootful: false,
        };
        let user = "ssh://core@127.0.0.1:4242/run/user/1234/podman/podman.sock";
        assert_eq!(route.podman(false), user);
        assert_eq!(route.podman(true), "ssh://root@127.0.0.1:4242/run/podman/podman.sock");
        assert_eq!(route.alias(), "nsvm-work");
    }
}
