//! `nsvm machine ...`: one file a verb.

mod init;
mod inspect;
mod list;
mod logs;
mod rm;
mod ssh;
mod start;
mod stop;

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
    Rm(rm::RmArgs),
    Inspect(inspect::InspectArgs),
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Logs(logs::LogsArgs),
    Ssh(ssh::SshArgs),
}

pub fn run(args: MachineArgs) -> anyhow::Result<u8> {
    match args.verb {
        Verb::Init(args) => init::run(*args),
        Verb::Start(args) => start::run(&args),
        Verb::Stop(args) => stop::run(&args),
        Verb::Rm(args) => rm::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::List(args) => list::run(&args),
        Verb::Logs(args) => logs::run(&args),
        Verb::Ssh(args) => ssh::run(&args),
    }
}

/// The machine a verb is about.
#[derive(Debug, Args)]
struct Which {
    /// The machine [default: nsvm-machine-default]
    #[arg(value_name = "NAME", default_value_t, hide_default_value = true)]
    name: MachineName,
}
