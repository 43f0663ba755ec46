//! `nsvm machine ...`: one file a verb.

mod cp;
mod init;
mod inspect;
mod list;
mod logs;
mod reset;
mod restart;
mod rm;
mod set;
mod ssh;
mod ssh_config;
mod start;
mod stop;
mod wait;

use clap::{Args, Subcommand};

use crate::machine::name::MachineName;

/// Manage the virtual machines
#[derive(Debug, Args)]
pub struct MachineArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(Box<init::InitArgs>),
    Start(start::StartArgs),
    Stop(stop::StopArgs),
    Restart(restart::RestartArgs),
    Wait(wait::WaitArgs),
    Rm(rm::RmArgs),
    Set(set::SetArgs),
    Inspect(inspect::InspectArgs),
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Cp(cp::CpArgs),
    Logs(logs::LogsArgs),
    Ssh(ssh::SshArgs),
    SshConfig(ssh_config::SshConfigArgs),
    Reset(reset::ResetArgs),
}

pub fn run(args: MachineArgs) -> anyhow::Result<u8> {
    match args.verb {
        Verb::Init(args) => init::run(*args),
        Verb::Start(args) => start::run(&args),
        Verb::Stop(args) => stop::run(&args),
        Verb::Restart(args) => restart::run(&args),
        Verb::Wait(args) => wait::run(&args),
        Verb::Rm(args) => rm::run(&args),
        Verb::Set(args) => set::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::List(args) => list::run(&args),
        Verb::Cp(args) => cp::run(&args),
        Verb::Logs(args) => logs::run(&args),
        Verb::Ssh(args) => ssh::run(&args),
        Verb::SshConfig(args) => ssh_config::run(&args),
        Verb::Reset(args) => reset::run(&args),
    }
}

/// The machine a verb is about.
#[derive(Debug, Args)]
struct Which {
    /// The machine [default: nsvm-machine-default]
    #[arg(value_name = "NAME", default_value_t, hide_default_value = true)]
    name: MachineName,
}
