//! Running one command where it belongs, and for a machine the way there: find
//! its supervisor, open a session.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use jiff::Timestamp;

use super::listing;
use super::session::resume::{self, Guide, Notice, Unreachable};
use super::session::{self, Answer, Connection, Stdio};
use super::{Context, Place, Refusal, awake, hand_over, hung, left_over, start};
use crate::control::client::{Client, Hung, hung_up, nobody_listens};
use crate::control::message::{Reply, Request};
use crate::machine::config::MachineConfig;
use crate::machine::name::MachineName;
use crate::machine::status::Status;
use crate::namespace::listing::Snapshot;
use crate::protocol::outcome::{Failure, Info, Outcome, Plan};
use crate::protocol::request::{self as protocol, ExecRequest, ListRequest, UserSpec};
use crate::protocol::resume::PATIENCE;

/// Runs `request` there on this process's own streams, as the place's user
/// unless the request names one. `say` has a line for the user when the machine
/// cannot be reached for a while.
pub fn run(place: &Place, mut request: ExecRequest, say: fn(&str)) -> anyhow::Result<Outcome> {
    place.complete_typed(&mut request)?;
    session::run_here(place.lasting_connection(say)?, request)
}

/// The same on streams of the caller's, without a terminal, and from the user's
/// home on: nobody typed it.
pub fn run_on(place: &Place, mut request: ExecRequest, stdio: Stdio) -> anyhow::Result<Outcome> {
    place.complete(&mut request)?;
    session::run(place.connection()?, request, stdio)
}

/// What the agent there would do for `request`: nothing runs.
pub fn explain(place: &Place, mut request: ExecRequest) -> anyhow::Result<Result<Plan, Failure>> {
    place.complete_typed(&mut request)?;
    let request = protocol::Request::Explain(Box::new(request));
    match session::ask(place.connection()?, request)? {
        Answer::Plan(plan) => Ok(Ok(plan)),
        Answer::Refused(failure) => Ok(Err(failure)),
        _ => bail!("the agent answered with something else"),
    }
}

/// What `request`'s user, or else the place's, may see of the namespaces there;
/// or how the process that looked ended.
pub fn list(place: &Place, mut request: ListRequest) -> anyhow::Result<Result<Snapshot, Outcome>> {
    if request.user.is_none() {
        request.user = place.default_user()?;
    }
    listing::ask(place.connection()?, request)
}

/// What the agent there says about its kernel.
pub fn info(place: &Place) -> anyhow::Result<Info> {
    place.default_user()?;
    session::info(place.connection()?)
}

pub(super) fn connection(context: &Context, name: &MachineName) -> anyhow::Result<Connection> {
    match open(context, name)? {
        Ok(connection) => Ok(connection),
        Err(down) => Err(down.into()),
    }
}

/// One that outlives the supervisor and the link, for this process's life.
pub(super) fn lasting_connection(
    context: &Context,
    name: &MachineName,
    say: fn(&str),
) -> anyhow::Result<Connection> {
    let first = connection(context, name)?;
    let boot = Boot::of(context, name);
    let again = Again { context: context.clone(), name: name.clone(), boot };
    let (store, name) = (context.store.clone(), name.clone());
    let tell = move |notice| say(&sentence(notice, &name, store.is_suspended(&name)));
    resume::open(first, again, tell)
}

fn sentence(notice: Notice, name: &MachineName, suspended: bool) -> String {
    match notice {
        Notice::Away if suspended => {
            format!(
                "nsvm: machine \"{name}\" is suspended; the command goes on when \
                 `nsvm machine start {name}` resumes it"
            )
        }
        Notice::Away => {
            let seconds = PATIENCE.as_secs();
            format!(
                "nsvm: the connection to machine \"{name}\" is lost; the command runs on, \
                 and is waited for up to {seconds} s"
            )
        }
        Notice::Back => format!("nsvm: the connection to machine \"{name}\" is back"),
    }
}

/// Finds the machine again, as any command does.
struct Again {
    context: Context,
    name: MachineName,
    /// When the command began.
    boot: Boot,
}

/// Tells whether a guest is still the one it was: a reset is known at once, the
/// boot id only when there is a link again.
struct Boot {
    /// The run that the resets are of.
    run: Option<Timestamp>,
    resets: u32,
    id: Option<String>,
}

impl Boot {
    fn of(context: &Context, name: &MachineName) -> Self {
        let run = context.store.run_record(name);
        let resets = run.as_ref().map_or(0, |run| run.resets);
        let started = run.as_ref().map(|run| run.started);
        Self { run: started, resets, id: run.and_then(|run| run.agent).map(|agent| agent.boot_id) }
    }

    /// In doubt it is the same.
    fn is_over(&self, context: &Context, name: &MachineName) -> bool {
        let now = Self::of(context, name);
        let ids = self.id.as_ref().zip(now.id.as_ref());
        // A machine that was suspended goes on in another run.
        let was_reset = now.run == self.run && now.resets != self.resets;
        was_reset || ids.is_some_and(|(before, now)| before != now)
    }
}

impl Guide for Again {
    /// A refusal is final: nothing else is.
    fn find(&mut self) -> Result<Connection, Unreachable> {
        if self.boot.is_over(&self.context, &self.name) {
            return Err(Unreachable::Ever(self.forgotten()));
        }
        match open(&self.context, &self.name) {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(down)) => Err(Unreachable::Yet(down.into())),
            Err(e) if self.context.store.is_suspended(&self.name) => Err(Unreachable::Asleep(e)),
            Err(e) if e.is::<Refusal>() => Err(Unreachable::Ever(e)),
            Err(e) => Err(Unreachable::Yet(e)),
        }
    }

    fn forgotten(&self) -> anyhow::Error {
        let name = &self.name;
        if self.boot.is_over(&self.context, name) {
            return anyhow!("machine \"{name}\" was rebooted");
        }
        anyhow!("the agent in machine \"{name}\" was restarted")
    }
}

pub fn default_user(config: &MachineConfig) -> UserSpec {
    let user = if config.rootful { "root" } else { &config.ssh.username };
    UserSpec { user: user.to_owned(), group: None }
}

/// How often a supervisor may die under a command that is just asking it.
const ATTEMPTS: u32 = 3;

/// A supervisor that does not listen listens or has left within this time.
const LEAVING: Duration = Duration::from_secs(15);

/// How often it is looked at: no lock call has a deadline.
const POLL: Duration = Duration::from_millis(10);

/// A session with the machine's agent, granted. The inner error: there is no
/// link for the time being; a supervisor that lives says so within 15 s.
fn open(context: &Context, name: &MachineName) -> anyhow::Result<Result<Connection, Refusal>> {
    for attempt in 1.. {
        let asked = connect(context, name)?.and_then(|mut client| Ok((client.reply()?, client)));
        match asked {
            Ok((Reply::Done, client)) => return Ok(Ok(over(client))),
            Ok((Reply::Down { message, hint }, _)) => {
                return Ok(Err(Refusal { message, hint }));
            }
            Ok((Reply::Failed { message, hint }, _)) => {
                return Err(Refusal { message, hint }.into());
            }
            Ok(_) => {
                bail!("the supervisor answered with something else")
            }
            // It died after it had accepted the connection: a new one is found.
            Err(e) if hung_up(&e) && attempt < ATTEMPTS => {}
            Err(e) => match Hung::of(&e).filter(|_| attempt < ATTEMPTS) {
                Some(found) => {
                    let say = |text: String| (context.aside)(&format!("nsvm: {text}"));
                    hung::end(context, name, found, say)?;
                }
                None => return Err(anyhow!(e).context("asking the supervisor for a session")),
            },
        }
    }
    unreachable!("the loop returns")
}

fn over(client: Client) -> Connection {
    let stream = client.into_stream();
    Connection::new(SharedStream(stream.clone()), SharedStream(stream))
}

/// The inner error is that of a supervisor which is there but does not answer.
fn connect(context: &Context, name: &MachineName) -> anyhow::Result<io::Result<Client>> {
    hand_over::settle(context, name)?;
    let socket = context.store.paths(name).control_socket();
    let ask = || Client::ask(&socket, &Request::Session);
    let alone = |asked: &io::Result<Client>| asked.as_ref().err().is_some_and(nobody_listens);
    let asked = ask();
    if !alone(&asked) {
        return Ok(asked);
    }
    // A supervisor that does not listen is on its way out, or about to begin.
    let end = Instant::now() + LEAVING;
    while context.store.is_supervised(name) && Instant::now() < end {
        std::thread::sleep(POLL);
        let asked = ask();
        if !alone(&asked) {
            return Ok(asked);
        }
    }
    match left_over::settled_status(context, name) {
        Status::Running => {}
        Status::Suspended if awake::is_asleep(context, name) => {
            awake::wake(context, name)?;
            return Ok(ask());
        }
        Status::Broken { reasons } => {
            return Err(Refusal::new(format!("machine \"{name}\": {}", reasons.join("; "))).into());
        }
        _ => return Err(not_running(name).into()),
    }
    // The VM outlived its supervisor: a new one finds it, started by one
    // command and not by each of those that come at once.
    let _lock = context.store.lock(name)?;
    let asked = ask();
    if !alone(&asked) {
        return Ok(asked);
    }
    start::spawn_supervisor(context, name, None)?;
    Ok(ask())
}

pub fn not_running(name: &MachineName) -> Refusal {
    let hint = format!("Start it with `nsvm machine start {name}`");
    Refusal::new(format!("machine \"{name}\" is not running")).hint(hint)
}

/// One connection, used by a reading and a writing thread.
struct SharedStream(Arc<interprocess::local_socket::Stream>);

impl io::Read for SharedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl io::Write for SharedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}
