//! `nsvm machine start`

use std::time::{Duration, Instant};

use super::wait::Wanted;
use crate::app::connections::{AsDefault, Program, connect};
use crate::app::inspect::{InspectInfo, PortInfo, inspect};
use crate::app::start::{StartRequest, start};
use crate::app::wait::{Patience, wait};
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::report::note;
use crate::cli::{environment, interrupt};
use crate::machine::event::Progress;

/// How long `--wait-for` waits where no `--timeout` says.
const WAIT_FOR: Duration = Duration::from_secs(300);

/// Start a machine and wait until it can be used
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine start work")]
pub struct StartArgs {
    #[command(flatten)]
    which: super::Which,
    /// Seconds the start may take [default: 120, or 300 without acceleration]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: Option<u64>,
    /// Return while the machine is still starting; `machine wait` waits for it
    #[arg(long)]
    no_wait: bool,
    /// Return when more than the agent is up: ssh (for other programs; nsvm's own
    /// commands do not need it), system (all that the guest starts), or unit:NAME
    #[arg(long, value_name = "WHAT", conflicts_with = "no_wait")]
    wait_for: Option<Wanted>,
    /// Do not say what the machine shares and how to use it
    #[arg(long)]
    no_info: bool,
    /// Let podman on this host work in the machine, and by default
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    update_connection: Option<bool>,
    /// Print only the result
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(args: &StartArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let interrupted = interrupt::flag();
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let printer = Printer::new(verbosity);
    let name = &args.which.name(&context);
    // One that does not exist is not said to be starting.
    context.store.load(name)?;
    (&printer as &dyn Progress).step(format!("Starting machine \"{name}\""));
    let timeout = args.timeout.map(Duration::from_secs);
    let request = StartRequest { timeout, in_background: args.no_wait };
    let begun = Instant::now();
    start(&context, name, request, &printer, &interrupted)?;
    if let Some(Wanted(awaited)) = &args.wait_for {
        let timeout = timeout.unwrap_or(WAIT_FOR).saturating_sub(begun.elapsed());
        wait(&context, name, awaited, Patience { timeout, interrupted: &interrupted })?;
    }
    if args.update_connection == Some(true) {
        connect(&context, name, Program::Podman, AsDefault::Yes, &printer)?;
    }
    if args.no_wait {
        outln!("Machine \"{name}\" is starting");
        return Ok(0);
    }
    if !args.no_info && !args.quiet {
        tell(&inspect(&context, name)?);
    }
    outln!("Machine \"{name}\" started successfully");
    Ok(0)
}

/// What somebody who has just started it may want to know.
fn tell(machine: &InspectInfo) {
    for mount in &machine.mounts {
        let access = if mount.read_only { " (read-only)" } else { "" };
        note(&format!("\"{}\" is \"{}\" in the guest{access}", mount.source, mount.target));
    }
    for port in &machine.ports {
        let PortInfo { host_ip, host_port, guest_port, .. } = port;
        note(&format!("{host_ip}:{host_port} leads to the guest's port {guest_port}"));
    }
    if machine.agent.ready {
        note(&format!("Use it: nsvm --machine {} unshare -Urpf --mount-proc bash", machine.name));
    }
}
