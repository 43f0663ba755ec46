//! `/etc/resolv.conf` of a program with a network: a copy of the guest's, so
//! that the program may change it, mounted where a resolver looks for it.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::STAGE;
use super::inside::Inside;
use crate::namespace::plan::{NameServers, RESOLV_CONF};

const NONE: Option<&str> = None;

/// A root file system without the file gets an empty one to mount on.
pub fn provide(servers: &NameServers) -> io::Result<()> {
    let text = match fs::read(OsStr::from_bytes(&servers.of)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let copy = Path::new(STAGE).join("resolv.conf");
    fs::write(&copy, text)?;
    fs::set_permissions(&copy, Permissions::from_mode(0o644))?;
    chown(&copy, Some(servers.owner.0), Some(servers.owner.1))?;
    let target = Inside::file(RESOLV_CONF, servers.owner)?;
    mount(Some(&copy), &target.path(), NONE, MsFlags::MS_BIND, NONE)?;
    if servers.read_only { fixed() } else { Ok(()) }
}

fn fixed() -> io::Result<()> {
    // Looked up anew: the mount is on top now.
    let target = Inside::at(RESOLV_CONF)?;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
    Ok(mount(NONE, &target.path(), NONE, MsFlags::MS_BIND | flags, NONE)?)
}
