//! [`Enter`] by the real kernel: what is open between opening and joining.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::calls::{parent_user_namespace, socket_namespace};
use super::kernel::Kernel;
use crate::agent::environment::Variables;
use crate::agent::process;
use crate::agent::steps::{ContextError, Enter};
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::plan::Handle;

/// The most an environment takes: Linux allows 2 MiB at an exec (a quarter of
/// the default stack limit), and a process may lie about its own.
const MAX_ENVIRONMENT: u64 = 4 << 20;

/// Where cgroups are (cgroups(7)).
const CGROUP: &str = "/sys/fs/cgroup";

/// Exists where SELinux is on.
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// Open files by what they are for. All are closed by the exec.
pub struct Handles {
    namespaces: [Option<OwnedFd>; 8],
    root: Option<File>,
    directory: Option<File>,
    environment: Option<File>,
    process: Option<File>,
    target: Option<OwnedFd>,
    cgroup: Option<File>,
}

impl Handles {
    pub const fn new() -> Self {
        Self {
            namespaces: [const { None }; 8],
            root: None,
            directory: None,
            environment: None,
            process: None,
            target: None,
            cgroup: None,
        }
    }

    fn file(&self, handle: Handle) -> io::Result<&File> {
        let file = match handle {
            Handle::Root => &self.root,
            Handle::Directory => &self.directory,
            Handle::Environment => &self.environment,
            Handle::Process => &self.process,
            Handle::Namespace(_) => &None,
        };
        file.as_ref().ok_or_else(not_open)
    }

    fn namespace(&self, kind: Kind) -> io::Result<&OwnedFd> {
        self.namespaces[kind as usize].as_ref().ok_or_else(not_open)
    }
}

fn not_open() -> io::Error {
    io::Error::from_raw_os_error(nix::libc::EBADF)
}

fn raw(pid: u32) -> io::Result<Pid> {
    let no_process = || io::Error::from_raw_os_error(nix::libc::ESRCH);
    Pid::from_raw(pid.cast_signed()).ok_or_else(no_process)
}

impl Enter for Kernel<'_> {
    fn check_target(&mut self, pid: u32) -> io::Result<()> {
        fs::metadata(format!("/proc/{pid}/ns/user")).map(drop)
    }

    fn open(&mut self, handle: Handle, path: &[u8]) -> io::Result<()> {
        let file = File::open(OsStr::from_bytes(path))?;
        let handles = &mut self.handles;
        match handle {
            Handle::Namespace(kind) => handles.namespaces[kind as usize] = Some(file.into()),
            Handle::Root => handles.root = Some(file),
            Handle::Directory => handles.directory = Some(file),
            Handle::Environment => handles.environment = Some(file),
            Handle::Process => handles.process = Some(file),
        }
        Ok(())
    }

    fn hold_target(&mut self, pid: u32) -> io::Result<()> {
        self.handles.target = Some(pidfd_open(raw(pid)?, PidfdFlags::empty())?);
        Ok(())
    }

    fn started(&mut self, pid: u32) -> io::Result<u64> {
        process::started(pid)
    }

    fn join_held(&mut self, kinds: Kinds) -> io::Result<()> {
        let target = self.handles.target.as_ref().ok_or_else(not_open)?;
        // nix has no name for time namespaces; the kernel checks the bits.
        let flags = CloneFlags::from_bits_retain(kinds.clone_flags().cast_signed());
        Ok(setns(target, flags)?)
    }

    fn join_opened(&mut self, kind: Kind) -> io::Result<()> {
        let flags = CloneFlags::from_bits_retain(kind.clone_flag().cast_signed());
        Ok(setns(self.handles.namespace(kind)?, flags)?)
    }

    fn open_parent_user(&mut self, of: Kind) -> io::Result<()> {
        let parent = parent_user_namespace(self.handles.namespace(of)?)?;
        self.handles.namespaces[Kind::User as usize] = Some(parent);
        Ok(())
    }

    fn open_socket_namespace(&mut self, pid: u32, socket: u32) -> io::Result<()> {
        let target = pidfd_open(raw(pid)?, PidfdFlags::empty())?;
        let socket = pidfd_getfd(&target, socket.cast_signed(), PidfdGetfdFlags::empty())?;
        self.handles.namespaces[Kind::Net as usize] = Some(socket_namespace(&socket)?);
        Ok(())
    }

    fn open_cgroup(&mut self, pid: u32) -> Result<(), (String, Option<io::Error>)> {
        let with = |what: String| move |e: io::Error| (what, Some(e));
        let system = statfs(CGROUP)
            .map_err(|e| (format!("statfs {CGROUP} failed"), Some(io::Error::from(e))))?;
        if system.filesystem_type() != CGROUP2_SUPER_MAGIC {
            return Err(("--join-cgroup is only supported in cgroup v2".to_owned(), None));
        }
        let path = format!("/proc/{pid}/cgroup");
        let text = fs::read_to_string(&path).map_err(with(format!("cannot open {path}")))?;
        let line = text.lines().next().unwrap_or_default();
        let Some((_, cgroup)) = line.rsplit_once(':') else {
            return Err(("failed to get cgroup path".to_owned(), None));
        };
        let list = format!("{CGROUP}/{cgroup}/cgroup.procs");
        let opened = fs::OpenOptions::new().append(true).open(list);
        self.handles.cgroup = Some(opened.map_err(with("failed to open cgroup.procs".into()))?);
        Ok(())
    }

    fn move_to_cgroup(&mut self) -> io::Result<()> {
        let mut list = self.handles.cgroup.take().ok_or_else(not_open)?;
        // 0 stands for the writer (cgroups(7)), whatever its number is inside.
        list.write_all(b"0")
    }

    fn follow_context(&mut self, pid: u32) -> Result<(), ContextError> {
        if !Path::new(SELINUX).exists() {
            return Err(ContextError::Off);
        }
        let context = fs::read_to_string(format!("/proc/{pid}/attr/current"));
        let context = context.map_err(ContextError::Read)?;
        let context = context.trim_end_matches(['\0', '\n']).to_owned();
        fs::write("/proc/self/attr/exec", &context).map_err(|e| ContextError::Write(context, e))
    }

    fn go_to(&mut self, handle: Handle) -> io::Result<()> {
        Ok(nix::unistd::fchdir(self.handles.file(handle)?)?)
    }

    fn take_environment(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.handles.file(Handle::Environment)?.take(MAX_ENVIRONMENT).read_to_end(&mut bytes)?;
        let variables = variables(&bytes);
        self.replaced = Some(self.program().with_environment(&variables)?);
        Ok(())
    }

    fn owner(&mut self) -> io::Result<(u32, u32)> {
        let metadata = self.handles.file(Handle::Process)?.metadata()?;
        Ok((metadata.uid(), metadata.gid()))
    }
}

/// The content of /proc/PID/environ.
fn variables(bytes: &[u8]) -> Variables {
    let one = |entry: &[u8]| {
        let equals = entry.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        Some((entry[..equals].to_vec(), entry[equals + 1..].to_vec()))
    };
    bytes.split(|byte| *byte == 0).filter_map(one).collect()
}
