//! Starts the program of a request: everything that can fail is prepared
//! here, the new process only takes the steps of its plan.

pub mod launcher;
mod work;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::accounts::{Account, Accounts};
use super::cgroup::{Cgroups, Confined};
use super::environment::{self, Login};
use super::failure::{failed, refused};
use super::program::Program;
use super::pty::{self, Pty};
use super::report::{ReportTo, Reports};
use super::run;
use super::steps::{self, Subject};
use super::sys::{self, Kernel};
use crate::namespace::limits::Limits;
use crate::namespace::named::Name;
use crate::namespace::plan::{StartDirectory, Wanted, holding, plan};
use crate::namespace::rootfs::RootFsVerb;
use crate::namespace::run::Digest;
use crate::protocol::outcome::{FailedStep, Failure, Outcome, Plan};
use crate::protocol::request::{ExecRequest, ListRequest, Surroundings, UserSpec};
use work::{End, Ends, Work};

/// A process that runs, or is about to run, the program.
pub struct Child {
    pub pid: u32,
    /// Readable once it has ended.
    pub pidfd: OwnedFd,
    /// Taken by whoever relays them.
    pub streams: Option<Streams>,
    pub reports: File,
    /// SIGTERM and SIGINT are for its first process alone, which passes them
    /// on.
    pub passes_signals_on: bool,
    /// Its control group, if it has limits.
    confined: Option<Confined>,
}

/// Our ends of the program's streams, non-blocking.
pub enum Streams {
    Pipes { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    Terminal(OwnedFd),
}

/// Starts the program of `request`, in this control group or in one of its own
/// if it has limits.
pub fn launch(request: &ExecRequest, confined: Option<Confined>) -> Result<Child, Failure> {
    start(request, End::Program, confined)
}

/// Starts a process that tells what its user may see of the namespaces here, a
/// [`crate::namespace::listing::Snapshot`] as `MessagePack` on its stdout.
pub fn list(request: ListRequest) -> Result<Child, Failure> {
    let ListRequest { user, command } = request;
    start(&ExecRequest { user, ..ExecRequest::default() }, End::Listing(command), None)
}

/// Starts the process that will hold the namespaces of `request` under `name`,
/// see [`named::holder`].
pub fn hold(
    request: &ExecRequest,
    name: &Name,
    confined: Option<Confined>,
) -> Result<Child, Failure> {
    start(request, End::Holder(name.clone()), confined)
}

/// Starts a process that unpacks a root file system from its stdin.
pub fn take_root(digest: Digest) -> Result<Child, Failure> {
    run::only_root()?;
    start(&ExecRequest::default(), End::Root(digest), None)
}

/// Starts a process that tells or removes the root file systems kept here.
pub fn keep_roots(verb: RootFsVerb) -> Result<Child, Failure> {
    run::only_root()?;
    start(&ExecRequest::default(), End::Kept(verb), None)
}

fn start(request: &ExecRequest, end: End, confined: Option<Confined>) -> Result<Child, Failure> {
    let accounts = Accounts::of_system();
    let account = account(request, &accounts)?;
    let confined = match confined {
        None => confine(&request.limits)?,
        joined => joined,
    };
    let cgroup = confined.as_ref().map(|confined| confined.cgroup().path().to_owned());
    let work = Work { cgroup, ..prepare(request, &account, &accounts, end)? };
    let started = |what| move |e: io::Error| failed(FailedStep::Launch, what, &e);
    let (streams, ends) =
        open_streams(request, &account).map_err(started("cannot open streams"))?;
    let (reports, write_reports) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .map_err(|e| started("cannot open a pipe")(e.into()))?;
    let pid = launcher::start(&work, ends, &write_reports).map_err(started("fork failed"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())
        .map_err(|e| started("cannot watch the process")(e.into()))?;
    let pid = pid.as_raw_nonzero().get().unsigned_abs();
    let passes_signals_on = request.namespaces.forward_signals;
    let (streams, reports) = (Some(streams), File::from(reports));
    Ok(Child { pid, pidfd, streams, reports, passes_signals_on, confined })
}

/// Becomes the program of `request`, with this process's own streams; failures
/// of processes that work for this one are told by `tell`. Returns only why it
/// could not.
pub fn become_here(request: &ExecRequest, tell: fn(&Failure)) -> Failure {
    let accounts = Accounts::of_system();
    let prepared = account(request, &accounts)
        .and_then(|account| prepare(request, &account, &accounts, End::Program));
    let Work { user, program, steps, .. } = match prepared {
        Ok(work) => work,
        Err(failure) => return failure,
    };
    sys::default_broken_pipes();
    let subject = Subject { user: &user, program: &program.name };
    steps::run(&steps, &subject, &mut Kernel::new(&program, ReportTo::User(tell), None))
}

/// What [`launch`] would do.
pub fn explain(request: &ExecRequest) -> Result<Plan, Failure> {
    let accounts = Accounts::of_system();
    let account = account(request, &accounts)?;
    let Work { program, steps, .. } = prepare(request, &account, &accounts, End::Program)?;
    Ok(Plan { steps, program: program.line() })
}

/// What [`hold`] would do.
pub fn explain_hold(request: &ExecRequest, name: &Name) -> Result<Plan, Failure> {
    let accounts = Accounts::of_system();
    let account = account(request, &accounts)?;
    let Work { steps, .. } = prepare(request, &account, &accounts, End::Holder(name.clone()))?;
    Ok(Plan { steps, program: String::new() })
}

impl Child {
    /// How it ended; `None` while it runs. Reaps it.
    pub fn outcome(&self) -> io::Result<Option<Outcome>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let Some(status) = waitid(WaitId::PidFd(self.pidfd.as_fd()), options)? else {
            return Ok(None);
        };
        if let Some(failure) = self.reports().failure {
            return Ok(Some(Outcome::NotStarted(failure)));
        }
        let byte = |number: i32| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
        let ended = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Outcome::Exited(byte(code)),
            (None, Some(signal)) => {
                Outcome::Signaled { signal: byte(signal), core: status.dumped() }
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(match self.confined.as_ref().and_then(Confined::out_of_memory) {
            Some(limit) => Outcome::OutOfMemory { limit, then: Box::new(ended) },
            None => ended,
        }))
    }

    /// Removes what was made for the program, which has ended: waits for what
    /// it left behind in its control group.
    pub async fn clear_away(self) -> io::Result<()> {
        match self.confined {
            Some(confined) => confined.clear_away().await,
            None => Ok(()),
        }
    }

    /// What the process has reported; each report is read once.
    pub fn reports(&self) -> Reports {
        Reports::read(&self.reports)
    }
}

/// The control group of a program with limits.
fn confine(limits: &Limits) -> Result<Option<Confined>, Failure> {
    if limits.are_none() {
        return Ok(None);
    }
    let confined = Cgroups::of_system().and_then(|cgroups| cgroups.confine(limits));
    confined.map(Some).map_err(|e| e.failure())
}

/// Who runs the request.
pub fn account(request: &ExecRequest, accounts: &Accounts<'_>) -> Result<Account, Failure> {
    let own = || UserSpec { user: nix::unistd::geteuid().to_string(), group: None };
    let user = request.user.clone().unwrap_or_else(own);
    let account = accounts.find(&user).map_err(|e| refused(FailedStep::User, e.to_string()))?;
    if request.user.is_some() || request.surroundings == Surroundings::Login {
        return Ok(account);
    }
    let credentials = sys::own_credentials()
        .map_err(|e| failed(FailedStep::User, "cannot read this process's groups", &e))?;
    Ok(Account { credentials, ..account })
}

fn prepare(
    request: &ExecRequest,
    account: &Account,
    accounts: &Accounts<'_>,
    end: End,
) -> Result<Work, Failure> {
    let user = account.name.clone().unwrap_or_else(|| account.credentials.uid.to_string());
    let surroundings = request.surroundings;
    if let Some(spec) = &request.run {
        let (program, steps) = run::prepare(request, spec, account, accounts)?;
        let end = End::Program;
        return Ok(Work { user, program, steps, cgroup: None, surroundings, end });
    }
    let runtime_dir = format!("/run/user/{}", account.credentials.uid);
    let login = Login {
        account,
        system: &std::fs::read_to_string("/etc/environment").unwrap_or_default(),
        host: &std::fs::read("/run/nsvm-environment").unwrap_or_default(),
        runtime_dir: Path::new(&runtime_dir).is_dir().then_some(runtime_dir),
    };
    let variables = match request.surroundings {
        Surroundings::Login => environment::variables(&login, request),
        Surroundings::Own => environment::kept(std::env::vars_os(), request),
    };
    let program = Program::new(&request.argv, &variables)
        .map_err(|_| refused(FailedStep::Request, "an argument or variable holds a NUL byte"))?;
    let start = start_directory(request, account);
    let ExecRequest { namespaces: create, limits, .. } = request;
    let (caller, enter) = (&account.credentials, request.enter.as_deref());
    let steps = match end {
        End::Holder(_) => holding(create, limits, caller, accounts),
        _ => plan(Wanted { enter, create, limits }, caller, start, accounts),
    };
    let steps = steps.map_err(|e| refused(FailedStep::Namespaces, e.to_string()))?;
    Ok(Work { user, program, steps, cgroup: None, surroundings, end })
}

/// A relative directory is one below the home, or below where the agent is.
fn start_directory(request: &ExecRequest, account: &Account) -> StartDirectory {
    let home = account.home.as_bytes();
    match &request.cwd {
        None if request.surroundings == Surroundings::Own => StartDirectory::Present,
        None => match &request.caller_cwd {
            Some(dir) => StartDirectory::Caller { dir: dir.to_vec(), home: home.to_vec() },
            None => StartDirectory::Home(home.to_vec()),
        },
        Some(dir) if request.surroundings == Surroundings::Own => {
            StartDirectory::Asked(dir.to_vec())
        }
        Some(dir) if dir.starts_with(b"/") => StartDirectory::Asked(dir.to_vec()),
        Some(dir) => StartDirectory::Asked([home, b"/", dir].concat()),
    }
}

fn open_streams(request: &ExecRequest, account: &Account) -> io::Result<(Streams, Ends)> {
    if let Some(tty) = &request.tty {
        let Pty { master, terminal } = pty::open(tty.size, account.credentials.uid)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        return Ok((Streams::Terminal(master), Ends::Terminal(terminal)));
    }
    let (child_in, stdin) = pipe2(OFlag::O_CLOEXEC)?;
    let (stdout, child_out) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr, child_err) = pipe2(OFlag::O_CLOEXEC)?;
    // Only our ends: programs do not expect a non-blocking stdout.
    for ours in [&stdin, &stdout, &stderr] {
        rustix::io::ioctl_fionbio(ours, true)?;
    }
    // Programs open /dev/stdin and /dev/stderr anew, which asks for the owner.
    if nix::unistd::geteuid().is_root() {
        let owner = Some(rustix::fs::Uid::from_raw(account.credentials.uid));
        for theirs in [&child_in, &child_out, &child_err] {
            rustix::fs::fchown(theirs, owner, None)?;
        }
    }
    Ok((Streams::Pipes { stdin, stdout, stderr }, Ends::Pipes([child_in, child_out, child_err])))
}
