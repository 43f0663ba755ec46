//! `nsvm machine connect` and `disconnect`

use clap::ValueEnum;

use crate::app::connections::{self, AsDefault, Program};
use crate::cli::environment;
use crate::cli::printer::{Printer, Verbosity};

/// Let podman or docker on this host work in a machine
///
/// podman gets the connections NAME and NAME-root, docker a context nsvm-NAME.
/// They follow the machine's port and go with it. What answers in the guest is
/// the guest's own podman or docker.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine connect podman work\n  \
        podman --connection work ps")]
pub struct ConnectArgs {
    #[arg(value_name = "PROGRAM", value_enum)]
    program: Choice,
    #[command(flatten)]
    which: super::Which,
    /// Make it the one that the program uses when none is named
    #[arg(long)]
    default: bool,
}

/// Take such a connection away
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine disconnect docker work")]
pub struct DisconnectArgs {
    #[arg(value_name = "PROGRAM", value_enum)]
    program: Choice,
    #[command(flatten)]
    which: super::Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    Podman,
    Docker,
}

impl Choice {
    const fn program(self) -> Program {
        match self {
            Self::Podman => Program::Podman,
            Self::Docker => Program::Docker,
        }
    }
}

pub fn run(args: &ConnectArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let default = if args.default { AsDefault::Yes } else { AsDefault::No };
    let printer = Printer::new(Verbosity::Normal);
    let program = args.program.program();
    connections::connect(&context, &args.which.name(&context), program, default, &printer)?;
    Ok(0)
}

pub fn undo(args: &DisconnectArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    connections::disconnect(&context, &args.which.name(&context), args.program.program())?;
    Ok(0)
}
