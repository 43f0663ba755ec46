//! [`Build`] by the real kernel: a root file system in a private mount
//! namespace, first with the agent's rights, then with those of the new user
//! namespace.
//!
//! The files below the stage come from whoever made the root file system: no
//! path in it is followed out of it ([`inside`]).

mod inside;
mod layers;
mod limits;
mod mounts;
mod name_servers;
mod user_namespace;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use nix::sched::{CloneFlags, setns};
use rustix::fs::{FlockOperation, flock};

use super::calls::raise_loopback;
use super::kernel::Kernel;
use crate::agent::steps::{Build, BuildError};
use crate::namespace::plan::Step;

/// Where the root is put together, each program's in its own mount namespace.
/// Not below /run/nsvm, which admits root alone.
pub const STAGE: &str = "/run/nsvm-stage";

/// The new root on the stage.
const ROOT: &str = "/run/nsvm-stage/root";

/// What lasts from step to step. All is closed by the exec; the process that
/// stays behind keeps the locks.
#[derive(Default)]
pub struct Staging {
    user_namespace: Option<File>,
    locks: Vec<File>,
    layers: usize,
}

impl Build for Kernel<'_> {
    fn build(&mut self, step: &Step) -> Result<(), BuildError> {
        let staging = &mut self.staging;
        let (what, result) = match step {
            Step::Lock(dir) => (text("lock", dir), lock(dir).map(|file| staging.locks.push(file))),
            Step::LockShared(dir) => {
                (text("use", dir), share(dir).map(|file| staging.locks.push(file)))
            }
            Step::MakeUserNamespace { owner, maps } => (
                "make a user namespace".to_owned(),
                user_namespace::make(owner, maps).map(|file| staging.user_namespace = Some(file)),
            ),
            Step::Stage => (format!("mount a tmpfs on {STAGE}"), mounts::stage()),
            Step::AddLayer(layer) => {
                staging.layers += 1;
                let namespace = staging.user_namespace.as_ref();
                (text("lay files below", &layer.at), layers::add(layer, staging.layers, namespace))
            }
            Step::MountFresh(fresh) => (text("mount a tmpfs on", &fresh.at), mounts::fresh(fresh)),
            Step::MakeDevices => ("make the devices in /dev".to_owned(), mounts::devices()),
            Step::MountTerminals { group } => {
                ("mount a devpts on /dev/pts".to_owned(), mounts::terminals(*group))
            }
            Step::ShowTerminal => ("show the terminal".to_owned(), mounts::terminal()),
            Step::ProvideNameServers(servers) => {
                (text("show the name servers of", &servers.of), name_servers::provide(servers))
            }
            Step::RootReadOnly => ("make the root read-only".to_owned(), mounts::root_read_only()),
            Step::EnterUserNamespace => {
                ("enter the user namespace".to_owned(), enter(staging.user_namespace.take()))
            }
            Step::TakeStage => ("take over the staged root".to_owned(), mounts::take_stage()),
            Step::MountSystem(system) => {
                (format!("mount {system:?}").to_lowercase(), mounts::system(*system))
            }
            Step::Hide(paths) => ("hide parts of /proc".to_owned(), mounts::hide(paths)),
            Step::MakeReadOnly(paths) => {
                ("make parts of /proc read-only".to_owned(), mounts::make_read_only(paths))
            }
            Step::PivotRoot => ("change the root".to_owned(), mounts::pivot()),
            other => return limited(other),
        };
        told(&what, result)
    }
}

/// What is no file system.
fn limited(step: &Step) -> Result<(), BuildError> {
    let (what, result) = match step {
        Step::RaiseLoopback => ("bring the loopback interface up".to_owned(), raise_loopback()),
        Step::LimitCapabilities => ("drop capabilities".to_owned(), limits::capabilities()),
        Step::NoNewPrivileges => {
            let set = rustix::thread::set_no_new_privs(true);
            ("refuse new privileges".to_owned(), set.map_err(io::Error::from))
        }
        other => {
            (format!("take the unknown step {other:?}"), Err(io::ErrorKind::Unsupported.into()))
        }
    };
    told(&what, result)
}

fn told(what: &str, result: io::Result<()>) -> Result<(), BuildError> {
    result.map_err(|source| BuildError { what: format!("cannot {what}"), source })
}

fn text(what: &str, path: &[u8]) -> String {
    format!("{what} {}", String::from_utf8_lossy(path))
}

fn lock(dir: &[u8]) -> io::Result<File> {
    let file = File::open(OsStr::from_bytes(dir))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(io::Error::other("a program that runs under this name has it"))
        }
        result => Ok(result.map(|()| file)?),
    }
}

fn share(dir: &[u8]) -> io::Result<File> {
    let path = OsStr::from_bytes(dir);
    let file = File::open(path)?;
    let locked = flock(&file, FlockOperation::NonBlockingLockShared);
    // Whoever removes it has locked it, and then renames it.
    let here = std::fs::metadata(path).is_ok_and(|now| {
        file.metadata().is_ok_and(|found| (now.dev(), now.ino()) == (found.dev(), found.ino()))
    });
    match locked {
        Ok(()) if here => Ok(file),
        Ok(()) | Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::other("it is being removed")),
        Err(e) => Err(e.into()),
    }
}

fn enter(namespace: Option<File>) -> io::Result<()> {
    let namespace = namespace.ok_or(io::ErrorKind::NotFound)?;
    Ok(setns(namespace, CloneFlags::CLONE_NEWUSER)?)
}
