//! What a program's root is made of: the guest's files that will lie below it,
//! and where its changes go.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{STORE, store};
use crate::agent::accounts::Account;
use crate::agent::failure::{failed, refused};
use crate::namespace::plan::run::Ground;
use crate::namespace::plan::{Changes, Layer};
use crate::namespace::run::{RootFs, RunSpec, is_name};
use crate::protocol::outcome::{FailedStep, Failure};
use crate::protocol::request::ExecRequest;

/// Where directories of named runs are, and in each what it was made from.
const NAMED: &str = "named";
const SOURCE: &str = "source";

/// File systems that hold a system's own files.
const SYSTEMS: [&str; 9] =
    ["ext4", "ext3", "ext2", "xfs", "btrfs", "f2fs", "overlay", "erofs", "squashfs"];

/// Mount points that are no part of a running system's programs and data, or
/// that a run gets of its own.
const FOREIGN: [&str; 9] =
    ["/boot", "/efi", "/sysroot", "/proc", "/sys", "/dev", "/run", "/tmp", "/mnt"];

/// Looks at the guest; makes the directories of a named run.
pub fn find(request: &ExecRequest, spec: &RunSpec, account: &Account) -> Result<Ground, Failure> {
    let lowers = lowers(&spec.root)?;
    let dir = spec.name.as_deref().map(|name| named(name, &spec.root)).transpose()?;
    let layer = |(number, (lower, at)): (usize, Lower)| {
        let changes = match &dir {
            None => Changes::Forgotten,
            Some(dir) => Changes::Kept(changes_in(dir, number).as_os_str().as_bytes().to_vec()),
        };
        Layer { lower, at, changes, mapped: account.credentials.uid != 0 }
    };
    Ok(Ground {
        layers: lowers.into_iter().enumerate().map(layer).collect(),
        has_terminal: request.tty.is_some(),
        hostname: hostname(spec),
        directory: request.cwd.as_ref().map_or_else(|| b"/".to_vec(), |dir| dir.to_vec()),
        lock: dir.map(|dir| dir.as_os_str().as_bytes().to_vec()),
        shared: match &spec.root {
            RootFs::Sent(digest) => Some(store::path(digest).as_os_str().as_bytes().to_vec()),
            RootFs::Guest | RootFs::Directory(_) => None,
        },
    })
}

fn hostname(spec: &RunSpec) -> String {
    spec.hostname.clone().or_else(|| spec.name.clone()).unwrap_or_else(|| "nsvm".to_owned())
}

fn changes_in(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("changes{number}"))
}

/// A directory of the guest, and where it is inside.
type Lower = (Vec<u8>, Vec<u8>);

/// The root first.
fn lowers(root: &RootFs) -> Result<Vec<Lower>, Failure> {
    let whole = |dir: &Path| vec![(dir.as_os_str().as_bytes().to_vec(), b"/".to_vec())];
    match root {
        RootFs::Guest => {
            let table = fs::read("/proc/self/mountinfo")
                .map_err(|e| failed(FailedStep::Launch, "cannot read the mounts", &e))?;
            let mut all = whole(Path::new("/"));
            let mounts = own_mounts(&String::from_utf8_lossy(&table));
            all.extend(mounts.into_iter().filter(|at| Path::new(at).is_dir()).map(|at| {
                let at = at.into_bytes();
                (at.clone(), at)
            }));
            Ok(all)
        }
        RootFs::Directory(dir) => {
            let dir = Path::new(std::ffi::OsStr::from_bytes(dir));
            let found = fs::metadata(dir).and_then(|m| {
                if m.is_dir() {
                    Ok(())
                } else {
                    Err(io::Error::from_raw_os_error(nix::libc::ENOTDIR))
                }
            });
            let what = format!("cannot use the root file system '{}'", dir.display());
            found.map_err(|e| failed(FailedStep::Namespaces, what, &e))?;
            Ok(whole(dir))
        }
        RootFs::Sent(digest) if store::has(digest) => Ok(whole(&store::path(digest))),
        RootFs::Sent(digest) => {
            let text = format!("the root file system {} has not been sent", digest.as_str());
            Err(refused(FailedStep::Namespaces, text))
        }
    }
}

/// The mount points below `/` that belong to the system itself
/// (`proc_pid_mountinfo(5)`), outer ones first. Names with blanks or the like
/// are left out: no system has them.
fn own_mounts(table: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in table.lines() {
        let Some((mount, system)) = line.split_once(" - ") else { continue };
        let Some(at) = mount.split(' ').nth(4) else { continue };
        let kind = system.split(' ').next().unwrap_or_default();
        let foreign = FOREIGN.iter().any(|dir| Path::new(at).starts_with(dir));
        let ours = Path::new(at).starts_with(STORE);
        if at != "/" && SYSTEMS.contains(&kind) && !foreign && !ours && !at.contains('\\') {
            all.push(at.to_owned());
        }
    }
    all.sort();
    all.dedup();
    all
}

/// The directory of a named run. It stays with what it was first made from:
/// changes to one root make no sense on another.
fn named(name: &str, root: &RootFs) -> Result<PathBuf, Failure> {
    if !is_name(name) {
        let text = format!("invalid name '{name}': it must be letters, digits, '-', '_' and '.'");
        return Err(refused(FailedStep::Request, text));
    }
    let dir = all_named().join(name);
    let made = make(&dir, &source(root));
    let there =
        made.map_err(|e| failed(FailedStep::Launch, format!("cannot keep '{name}'"), &e))?;
    if there == source(root) {
        return Ok(dir);
    }
    let text = format!("'{name}' was made from another root file system ({there})");
    Err(refused(FailedStep::Request, text))
}

/// Where all named ones are.
pub fn all_named() -> PathBuf {
    Path::new(STORE).join(NAMED)
}

/// What that of this name was made from, if it is known.
pub fn source_of(name: &str) -> Option<String> {
    fs::read_to_string(all_named().join(name).join(SOURCE)).ok()
}

/// What is written there for a root file system of this digest.
pub fn source_of_digest(digest: &str) -> String {
    format!("sha256 {digest}")
}

/// What the directory was made from.
fn make(dir: &Path, source: &str) -> io::Result<String> {
    // Files of root inside lie in it: nobody else looks in.
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let file = dir.join(SOURCE);
    match fs::read_to_string(&file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            fs::write(file, source)?;
            Ok(source.to_owned())
        }
        text => text,
    }
}

fn source(root: &RootFs) -> String {
    match root {
        RootFs::Guest => "the machine's own".to_owned(),
        RootFs::Directory(dir) => format!("directory {}", String::from_utf8_lossy(dir)),
        RootFs::Sent(digest) => source_of_digest(digest.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_own_mounts_are_told_from_the_others() {
        let table = "\
22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw - ext4 /dev/vda rw
30 27 254:0 /etc /etc rw - ext4 /dev/vda rw
31 27 254:1 / /var rw shared:1 - xfs /dev/vdb rw
32 31 254:2 / /var/lib/nsvm/x rw - ext4 /dev/vdc rw
33 27 254:3 / /boot ro - ext4 /dev/vdd ro
34 27 0:9 / /tmp rw - tmpfs tmpfs rw
35 27 254:4 / /a\\040b rw - ext4 /dev/vde rw
garbage";
        assert_eq!(own_mounts(table), ["/etc", "/var"]);
    }
}
