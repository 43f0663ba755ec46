//! A user namespace made by a process that only waits in it: its maps are also
//! those of mounts, so it has to be there before them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{self, ForkResult, Gid, Pid, Uid};

use crate::agent::steps::WriteError;
use crate::agent::sys::calls::{exit_now, fork};
use crate::agent::sys::write_file;
use crate::namespace::idmap;
use crate::namespace::plan::{Credentials, IdMaps};

/// An open user namespace with these maps, owned by this user.
pub fn make(owner: &Credentials, maps: &IdMaps) -> io::Result<File> {
    let (made, tell) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    let (wait, done) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    match fork()? {
        ForkResult::Child => {
            drop((made, done));
            exit_now(i32::from(stay_in(owner, &tell, &wait).is_err()))
        }
        ForkResult::Parent { child } => {
            drop((tell, wait));
            let opened = mapped(child, &made, maps);
            drop(done);
            while waitpid(child, None) == Err(Errno::EINTR) {}
            opened
        }
    }
}

/// The child: makes the namespace, tells the errno (0: it is there), stays.
fn stay_in(owner: &Credentials, tell: &OwnedFd, wait: &OwnedFd) -> io::Result<()> {
    let made = unistd::setgid(Gid::from_raw(owner.gid))
        .and_then(|()| unistd::setuid(Uid::from_raw(owner.uid)))
        .and_then(|()| unshare(CloneFlags::CLONE_NEWUSER));
    let errno = made.err().map_or(0, |e| e as i32);
    rustix::io::write(tell, &errno.to_ne_bytes())?;
    // The end of the pipe is the end of the work.
    let _ = rustix::io::read(wait, &mut [0; 1])?;
    Ok(())
}

fn mapped(child: Pid, made: &OwnedFd, maps: &IdMaps) -> io::Result<File> {
    let mut errno = [0; 4];
    if rustix::io::read(made, &mut errno)? != errno.len() {
        return Err(io::Error::other("the process that makes it has ended"));
    }
    match i32::from_ne_bytes(errno) {
        0 => {}
        errno => return Err(io::Error::from_raw_os_error(errno)),
    }
    for (file, ranges) in [("uid_map", &maps.users), ("gid_map", &maps.groups)] {
        write_file(&format!("/proc/{child}/{file}"), &idmap::lines(ranges)).map_err(
            |e| match e {
                WriteError::Open(e) | WriteError::Write(e) => e,
            },
        )?;
    }
    File::open(format!("/proc/{child}/ns/user"))
}
