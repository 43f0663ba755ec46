//! Executes what the life cycle decides: the only place with effects on a VM.

mod farewell;
mod linking;
mod records;
mod suspending;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::bring_up::BringUp;
use super::clients::{self, Desk};
use super::clock::{Reading, SharedPulse};
use super::feed::Feed;
use super::launch::Launched;
use super::lifecycle::{Action, Ending, Input, State, Wish, step};
use super::link_keeper::{self, LinkSlot};
use super::news::News;
use super::uses::Uses;
use super::vm::{Fate, Vm};
use crate::app::run::default_user;
use crate::app::{Context, stop};
use crate::control::message::Reply;
use crate::control::server::Server;
use crate::fs::{Lock, is_locked};
use crate::host;
use crate::link::Link;
use crate::machine::config::MachineConfig;
use crate::machine::event::{Progress, RunState};
use crate::machine::name::MachineName;
use crate::machine::suspended::Reason;
use crate::qemu::command::LINK_DEVICE;
use crate::qemu::process::Life;
use crate::qemu::qmp::{Qmp, QmpEvent};
use crate::store::{AgentRecord, Phase, RunRecord};

pub type Spawned = Launched;

/// Between two presses of the guest's power button.
const PRESS_AGAIN: Duration = Duration::from_secs(3);

/// What is known of the sshd of a guest whose agent does not need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sshd {
    Awaited,
    Answers,
}

/// What the driver is told.
pub enum Happening {
    Life(Input),
    Spawned(Box<Spawned>),
    Monitor(Arc<Qmp>, mpsc::UnboundedReceiver<QmpEvent>),
    /// The monitor's connection is closed: QEMU is ending.
    MonitorClosed,
    /// All checks passed; `None`: there will never be a link.
    Up(Option<Box<Link>>),
    Agent(AgentRecord),
    /// The guest's sshd is waited for, or has been heard of.
    Sshd(Sshd),
    Clock(Reading),
    /// The guest began anew: whatever was in it is gone.
    Reset,
    /// Somebody wants the machine suspended, and to be told.
    SuspendAsked {
        reason: Reason,
        waiter: mpsc::UnboundedSender<Reply>,
    },
    /// A newer nsvm wants to supervise the VM, and to be told.
    HandOverAsked(mpsc::UnboundedSender<Reply>),
}

struct Driver {
    context: Context,
    config: MachineConfig,
    desk: Desk,
    slot: LinkSlot,
    pulse: SharedPulse,
    happenings: mpsc::UnboundedSender<Happening>,
    vm: Vm,
    run: RunRecord,
    timer: Option<Instant>,
    /// When to press the guest's power button again.
    press: Option<Instant>,
    tasks: Vec<JoinHandle<()>>,
    adopting: bool,
    /// Those who asked for the machine to be suspended.
    suspending: Vec<mpsc::UnboundedSender<Reply>>,
    /// Why.
    reason: Reason,
    /// Those who want to take over.
    successors: Vec<mpsc::UnboundedSender<Reply>>,
    /// The record on the disk is not this run's latest.
    unwritten: bool,
}

/// Runs until the VM has ended or the start was undone.
pub async fn run(
    context: &Context,
    name: &MachineName,
    timeout: Option<Duration>,
    server: Server,
    alive: Lock,
) -> anyhow::Result<()> {
    let config = context.store.load(name)?;
    let adopting = is_locked(&context.store.paths(name).vm_lock())?;
    let (happenings, mut inbox) = mpsc::unbounded_channel();
    let (slot, link) = link_keeper::slot();
    let news = News::default();
    let desk = Desk {
        machine: name.clone(),
        user: default_user(&config),
        happenings: happenings.clone(),
        start: Arc::new(Feed::telling(news.clone())),
        stop: Arc::new(Feed::telling(news.clone())),
        news,
        link,
        met: Arc::new(watch::Sender::new(false)),
        uses: Uses::default(),
        sessions: TaskTracker::new(),
    };
    let run = records::first_record(context, &config, adopting);
    let lock = context.store.paths(name).vm_lock();
    let vm = Vm::new(lock, config.uuid.clone(), adopting.then_some(run.qemu_pid));
    let listening = tokio::spawn(clients::serve(server, desk.clone()));
    let mut driver = Driver {
        context: context.clone(),
        config,
        desk,
        slot,
        pulse: SharedPulse::default(),
        happenings,
        vm,
        run,
        timer: None,
        press: None,
        tasks: Vec::new(),
        adopting,
        suspending: Vec::new(),
        reason: Reason::Asked,
        successors: Vec::new(),
        unwritten: false,
    };
    match driver.write_record() {
        // Nobody could tell where the run has got to.
        Err(why) if !adopting => {
            let _ = driver.happenings.send(Happening::Life(Input::StartFailed(why)));
        }
        written => {
            driver.unwritten = written.is_err();
            driver.begin(timeout);
        }
    }
    let ending = driver.live(&mut inbox).await;
    driver.await_first_client().await;
    // The next supervisor's socket has the same name: this one goes first.
    listening.abort();
    let _ = listening.await;
    driver.drop_tasks();
    // A QEMU that was started at the very moment the start was given up.
    while let Ok(happening) = inbox.try_recv() {
        if let Happening::Spawned(spawned) = happening {
            driver.vm.started(spawned.process);
            driver.vm.kill();
        }
    }
    let vm_is_gone = driver.finish(&ending).await;
    drop(alive);
    driver.desk.uses.gone();
    driver.say_goodbye(&ending, vm_is_gone).await;
    Ok(())
}

impl Driver {
    /// Starts the VM, or finds the one that is running.
    fn begin(&mut self, timeout: Option<Duration>) {
        let work = BringUp {
            context: self.context.clone(),
            config: self.config.clone(),
            feed: self.desk.start.clone(),
            timeout,
            happenings: self.happenings.clone(),
            life: Life::Own,
        };
        let happenings = self.happenings.clone();
        let adopting = self.adopting;
        self.tasks.push(tokio::spawn(async move {
            let done = if adopting {
                work.adopt().await.map(|()| Happening::Life(Input::Ready))
            } else {
                work.start().await.map(|link| Happening::Up(link.map(Box::new)))
            };
            let told = done.unwrap_or_else(|why| Happening::Life(Input::StartFailed(why)));
            let _ = happenings.send(told);
        }));
    }

    /// The main loop: one happening or deadline at a time.
    async fn live(&mut self, inbox: &mut mpsc::UnboundedReceiver<Happening>) -> Ending {
        let mut state =
            if self.adopting { State::Adopting { wish: None } } else { State::Starting };
        let mut terminated = std::pin::pin!(terminated());
        let mut told_to_end = false;
        loop {
            let input = tokio::select! {
                happening = inbox.recv() => match happening {
                    Some(happening) => self.take(happening).await,
                    None => Some(Input::VmGone),
                },
                () = until(self.timer) => {
                    self.timer = None;
                    Some(Input::Deadline)
                }
                () = until(self.press) => {
                    self.press_power_button();
                    None
                }
                () = &mut terminated, if !told_to_end => {
                    told_to_end = true;
                    Some(Input::Asked(Wish::Stop { force: false, patience: stop::PATIENCE }))
                }
            };
            let mut next = input;
            while let Some(input) = next.take() {
                tracing::info!(?state, ?input, "step");
                let (new, actions) = step(state, input);
                state = new;
                for action in actions {
                    // Ending what never ran is done at once.
                    if self.act(&action) == Fate::Gone {
                        next = Some(Input::VmGone);
                    }
                }
                if let State::Ended(ending) = state {
                    return ending;
                }
            }
        }
    }

    /// Notes what happened; the life cycle's share of it is returned.
    async fn take(&mut self, happening: Happening) -> Option<Input> {
        match happening {
            Happening::Life(input) => Some(input),
            Happening::Spawned(spawned) => {
                self.run.qemu_pid = spawned.process.pid();
                self.run.ssh_port = spawned.ssh_port;
                self.run.ports = spawned.ports;
                self.run.accelerator = spawned.accelerator;
                self.run.hardware = Some(spawned.hardware);
                self.vm.started(spawned.process);
                self.record();
                None
            }
            Happening::Monitor(monitor, events) => {
                self.vm.monitored(monitor);
                self.watch_monitor(events);
                None
            }
            Happening::MonitorClosed => {
                self.vm.await_exit().await;
                Some(Input::VmGone)
            }
            Happening::Up(link) => {
                self.keep_link(link);
                Some(Input::Ready)
            }
            Happening::Sshd(sshd) => {
                self.run.sshd_awaited = sshd == Sshd::Awaited;
                self.record();
                None
            }
            Happening::Clock(reading) => {
                self.note_clock(reading);
                None
            }
            Happening::Reset => {
                self.run.resets += 1;
                self.record();
                self.pulse.reset.notify_waiters();
                None
            }
            Happening::SuspendAsked { reason, waiter } => self.suspend_asked(reason, waiter),
            Happening::HandOverAsked(waiter) => {
                self.successors.push(waiter);
                Some(Input::Asked(Wish::HandOver))
            }
            Happening::Agent(agent) => {
                let before = self.run.agent.as_ref();
                if before.is_some_and(|before| before.boot_id != agent.boot_id) {
                    tracing::warn!("the guest has been rebooted");
                }
                self.run.agent = Some(agent);
                self.record();
                host::forget_start();
                None
            }
        }
    }

    fn watch_monitor(&mut self, mut events: mpsc::UnboundedReceiver<QmpEvent>) {
        let (happenings, pulse) = (self.happenings.clone(), self.pulse.clone());
        self.tasks.push(tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                tracing::info!(?event, "QEMU");
                match event.name.as_str() {
                    "RESUME" | "WAKEUP" => pulse.resumed.notify_waiters(),
                    "RESET" => drop(happenings.send(Happening::Reset)),
                    "VSERPORT_CHANGE" if event.data["id"] == LINK_DEVICE => {
                        pulse.port_closed.send_replace(event.data["open"] == false);
                    }
                    _ => {}
                }
            }
            let _ = happenings.send(Happening::MonitorClosed);
        }));
    }

    fn act(&mut self, action: &Action) -> Fate {
        match *action {
            Action::Trim => self.trim(),
            Action::PowerDown => self.press_power_button(),
            Action::Quit => {
                self.press = None;
                return self.vm.quit();
            }
            Action::Kill => return self.vm.kill(),
            Action::Save => self.save(),
            Action::SetTimer(after) => self.timer = Some(Instant::now() + after),
            Action::AnnounceRunning => self.announce_running(),
            Action::AnnounceStopping => {
                self.run.phase = Phase::Stopping;
                self.record();
                self.slot.stopping();
                self.desk.news.reached(RunState::Stopping);
            }
            Action::Note(text) => (&*self.desk.stop as &dyn Progress).warn(text),
            Action::Refuse(why) => self.desk.start.end(Reply::failed(why, None)),
            Action::RefuseSuspend(ref why) => {
                self.desk.uses.open();
                let reply = self.not_suspended(why);
                tell(&mut self.suspending, &reply);
            }
            Action::RefuseHandOver(ref why) => {
                let reply = Reply::failed(why.message.clone(), why.hint.clone());
                tell(&mut self.successors, &reply);
            }
            Action::Finish => self.timer = None,
        }
        Fate::Going
    }

    fn announce_running(&mut self) {
        if self.adopting {
            self.keep_link(None);
        }
        self.run.phase = Phase::Running;
        self.record();
        self.desk.news.reached(RunState::Running);
        self.touch_history();
        self.watch_idleness();
        self.desk.start.end(Reply::Done);
        host::forget_start();
    }

    /// A press is lost on a guest whose driver for the button is not up yet,
    /// and one too many does no harm: the guest is shutting down already.
    fn press_power_button(&mut self) {
        self.vm.press_power_button();
        self.press = Some(Instant::now() + PRESS_AGAIN);
    }

    /// On this one thread a task that was aborted is never polled again.
    fn drop_tasks(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

/// One that has gone does not care.
fn tell(waiters: &mut Vec<mpsc::UnboundedSender<Reply>>, reply: &Reply) {
    for waiter in waiters.drain(..) {
        let _ = waiter.send(reply.clone());
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// The host wants us to end (shutdown): then the guest shuts down too.
async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut signal) = signal(SignalKind::terminate()) {
            signal.recv().await;
            return;
        }
    }
    std::future::pending::<()>().await;
}
