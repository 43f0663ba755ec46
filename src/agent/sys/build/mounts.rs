//! What is mounted below the new root, and how it becomes the root.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{fchdir, pivot_root};

use super::inside::Inside;
use super::{ROOT, STAGE};
use crate::namespace::plan::{Fresh, System};

const NONE: Option<&str> = None;

/// Of file systems that hold no programs.
const QUIET: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Character devices by name, major and minor number (`devices.txt` of Linux).
const DEVICES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

pub fn stage() -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(STAGE) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    mount(Some("nsvm"), STAGE, Some("tmpfs"), MsFlags::MS_NODEV, Some("mode=0755"))?;
    fs::create_dir(ROOT)
}

pub fn fresh(fresh: &Fresh) -> io::Result<()> {
    let Fresh { at, mode, owner: (uid, gid) } = fresh;
    let options = format!("mode={mode:o},uid={uid},gid={gid}");
    let target = Inside::directory(at)?;
    let flags =
        if at == b"/dev" { MsFlags::MS_NOSUID } else { MsFlags::MS_NOSUID | MsFlags::MS_NODEV };
    Ok(mount(Some("tmpfs"), &target.path(), Some("tmpfs"), flags, Some(options.as_str()))?)
}

/// In the tmpfs on /dev, where nothing but ours is yet.
pub fn devices() -> io::Result<()> {
    let inside = Inside::at(b"/dev")?;
    let dev = inside.path();
    for (name, major, minor) in DEVICES {
        let path = dev.join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(major, minor))?;
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
    }
    for (to, name) in LINKS {
        symlink(to, dev.join(name))?;
    }
    fs::create_dir(dev.join("mqueue"))
}

pub fn terminals(group: u32) -> io::Result<()> {
    let target = Inside::directory(b"/dev/pts")?;
    let options = format!("newinstance,ptmxmode=0666,mode=0620,gid={group}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    Ok(mount(Some("devpts"), &target.path(), Some("devpts"), flags, Some(options.as_str()))?)
}

/// Its name below /dev/pts means nothing in there. By its name and not by its
/// descriptor, whose mount is that of the agent's namespace.
pub fn terminal() -> io::Result<()> {
    let name = fs::read_link("/proc/self/fd/0")?;
    let dev = Inside::at(b"/dev")?;
    File::create(dev.path().join("console"))?;
    let target = Inside::at(b"/dev/console")?;
    Ok(mount(Some(&name), &target.path(), NONE, MsFlags::MS_BIND, NONE)?)
}

pub fn root_read_only() -> io::Result<()> {
    for dir in ["/proc", "/sys"] {
        Inside::directory(dir.as_bytes())?;
    }
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
    Ok(mount(NONE, ROOT, NONE, MsFlags::MS_BIND | flags, NONE)?)
}

/// A mount that came into this namespace from one with more rights is locked:
/// only a copy of it can become the root.
pub fn take_stage() -> io::Result<()> {
    Ok(mount(Some(ROOT), ROOT, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?)
}

pub fn system(system: System) -> io::Result<()> {
    let new = |kind: &'static str, at: &str, flags| {
        let target = Inside::directory(at.as_bytes())?;
        Ok(mount(Some(kind), &target.path(), Some(kind), flags, NONE)?)
    };
    match system {
        System::Proc => new("proc", "/proc", QUIET),
        System::Sysfs => new("sysfs", "/sys", QUIET | MsFlags::MS_RDONLY),
        System::Mqueue => new("mqueue", "/dev/mqueue", QUIET),
        System::Cgroup => {
            // A program that never sees a cgroup misses little.
            let _: io::Result<()> = new("cgroup2", "/sys/fs/cgroup", QUIET | MsFlags::MS_RDONLY);
            Ok(())
        }
        System::HostSysfs => {
            let target = Inside::directory(b"/sys")?;
            mount(Some("/sys"), &target.path(), NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
            drop(target);
            make_read_only(&[b"/sys".to_vec()])
        }
    }
}

/// Files by /dev/null, directories by empty ones.
pub fn hide(paths: &[Vec<u8>]) -> io::Result<()> {
    let null = Inside::at(b"/dev/null")?;
    for path in paths {
        let Some(target) = Inside::if_there(path)? else { continue };
        let target = target.path();
        if fs::metadata(&target)?.is_dir() {
            let flags = QUIET | MsFlags::MS_RDONLY;
            mount(Some("tmpfs"), &target, Some("tmpfs"), flags, Some("size=0"))?;
        } else {
            mount(Some(&null.path()), &target, NONE, MsFlags::MS_BIND, NONE)?;
        }
    }
    Ok(())
}

/// A mount of its own on the same place, which can be made read-only.
pub fn make_read_only(paths: &[Vec<u8>]) -> io::Result<()> {
    for path in paths {
        let Some(target) = Inside::if_there(path)? else { continue };
        let copied = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&target.path()), &target.path(), NONE, copied, NONE)?;
        // Looked up anew: the mount is on top now.
        let target = Inside::at(path)?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | QUIET;
        mount(NONE, &target.path(), NONE, flags, NONE)?;
    }
    Ok(())
}

/// As `pivot_root(2)` shows it with one directory: the old root comes on top of the
/// new one and is taken off.
pub fn pivot() -> io::Result<()> {
    let root = File::open(Path::new(OsStr::from_bytes(ROOT.as_bytes())))?;
    fchdir(&root)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(nix::unistd::chdir("/")?)
}
