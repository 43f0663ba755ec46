//! Files of the guest as a lower layer, id-mapped and never written, with an
//! overlay on top.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::STAGE;
use super::inside::Inside;
use crate::agent::sys::calls::{attach, clone_read_only};
use crate::namespace::plan::{Changes, Layer};

/// Mounts the layer; `number` tells layers apart.
pub fn add(layer: &Layer, number: usize, namespace: Option<&File>) -> io::Result<()> {
    let lower = Path::new(STAGE).join(format!("lower{number}"));
    fs::create_dir(&lower)?;
    let from = OsStr::from_bytes(&layer.lower);
    attach(&cloned(from, namespace.filter(|_| layer.mapped))?, &lower)?;
    let changes = match &layer.changes {
        Changes::Forgotten => Path::new(STAGE).join(format!("changes{number}")),
        Changes::Kept(dir) => PathBuf::from(OsStr::from_bytes(dir)),
    };
    let (upper, work) = (changes.join("upper"), changes.join("work"));
    fs::create_dir_all(&work)?;
    if !upper.exists() {
        make_like(&upper, &lower)?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let target = Inside::directory(&layer.at)?;
    // Devices of the guest are not for the program, whatever the files say.
    let flags = MsFlags::MS_NODEV;
    Ok(mount(Some("nsvm"), &target.path(), Some("overlay"), flags, Some(options.as_str()))?)
}

/// A file system that cannot be id-mapped is taken as it is: files of others
/// then belong to nobody inside.
fn cloned(from: &OsStr, namespace: Option<&File>) -> io::Result<std::os::fd::OwnedFd> {
    match clone_read_only(from, namespace) {
        Err(e) if namespace.is_some() && e.kind() == io::ErrorKind::InvalidInput => {
            clone_read_only(from, None)
        }
        result => result,
    }
}

/// The overlay's own directory shows the attributes of the upper one.
fn make_like(upper: &Path, lower: &Path) -> io::Result<()> {
    let like = fs::metadata(lower)?;
    fs::create_dir(upper)?;
    chown(upper, Some(like.uid()), Some(like.gid()))?;
    fs::set_permissions(upper, Permissions::from_mode(like.mode() & 0o7777))
}
