//! `nsvm machine ...`: one file a verb.

mod clone;
mod connect;
mod cp;
mod default;
mod doctor;
mod env;
mod events;
mod export;
mod import;
mod info;
mod init;
mod inspect;
mod list;
mod logs;
mod os;
mod podman;
mod protect;
mod rename;
mod reset;
mod restart;
mod rm;
mod set;
mod snapshot;
mod ssh;
mod ssh_config;
mod start;
mod stop;
mod suspend;
mod wait;

use clap::{Args, Subcommand};

use crate::app::Context;
use crate::machine::name::MachineName;

#[derive(Debug, Subcommand)]
pub enum Verb {
    Init(Box<init::InitArgs>),
    Start(start::StartArgs),
    Stop(stop::StopArgs),
    Suspend(suspend::SuspendArgs),
    Snapshot(snapshot::SnapshotArgs),
    Restart(restart::RestartArgs),
    Wait(wait::WaitArgs),
    Rm(rm::RmArgs),
    Set(set::SetArgs),
    Inspect(inspect::InspectArgs),
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Info(info::InfoArgs),
    Cp(cp::CpArgs),
    Clone(clone::CloneArgs),
    Rename(rename::RenameArgs),
    Default(default::DefaultArgs),
    Protect(protect::ProtectArgs),
    Unprotect(protect::UnprotectArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Os(os::OsArgs),
    Doctor(doctor::DoctorArgs),
    Logs(logs::LogsArgs),
    Events(events::EventsArgs),
    Ssh(ssh::SshArgs),
    SshConfig(ssh_config::SshConfigArgs),
    Connect(connect::ConnectArgs),
    Disconnect(connect::DisconnectArgs),
    Env(env::EnvArgs),
    Reset(reset::ResetArgs),
}

pub fn run(verb: Verb) -> anyhow::Result<u8> {
    match verb {
        Verb::Init(args) => init::run(*args),
        Verb::Start(args) => start::run(&args),
        Verb::Stop(args) => stop::run(&args),
        Verb::Suspend(args) => suspend::run(&args),
        Verb::Snapshot(args) => snapshot::run(&args),
        Verb::Restart(args) => restart::run(&args),
        Verb::Wait(args) => wait::run(&args),
        Verb::Rm(args) => rm::run(&args),
        Verb::Set(args) => set::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::List(args) => list::run(&args),
        Verb::Info(args) => info::run(&args),
        Verb::Cp(args) => cp::run(&args),
        Verb::Clone(args) => clone::run(&args),
        Verb::Rename(args) => rename::run(&args),
        Verb::Default(args) => default::run(&args),
        Verb::Protect(args) => protect::run(&args),
        Verb::Unprotect(args) => protect::undo(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Import(args) => import::run(&args),
        Verb::Os(args) => os::run(args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Logs(args) => logs::run(&args),
        Verb::Events(args) => events::run(&args),
        Verb::Ssh(args) => ssh::run(&args),
        Verb::SshConfig(args) => ssh_config::run(&args),
        Verb::Connect(args) => connect::run(&args),
        Verb::Disconnect(args) => connect::undo(&args),
        Verb::Env(args) => env::run(&args),
        Verb::Reset(args) => reset::run(&args),
    }
}

/// The machine a verb is about.
#[derive(Debug, Args)]
struct Which {
    /// The machine [default: what `machine default` says]
    #[arg(value_name = "NAME")]
    name: Option<MachineName>,
}

impl Which {
    fn name(&self, context: &Context) -> MachineName {
        self.name.clone().unwrap_or_else(|| context.store.default_name())
    }
}
