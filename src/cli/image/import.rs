//! `nsvm image import`

use std::path::PathBuf;

use crate::app::image::import::{ImportRequest, import};
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{environment, interrupt};
use crate::image::Provisioner;
use crate::machine::config::Arch;

/// Copy a disk image into the cache, under a name for --image
///
/// qcow2 or raw, which may be packed with xz, zstd or gzip.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm image import --name mine --user me ./disk.qcow2.xz")]
pub struct ImportArgs {
    /// The disk image
    file: PathBuf,
    /// What --image shall call it [default: made from the file's name]
    #[arg(long)]
    name: Option<String>,
    /// SHA-256 that the file must have
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Architecture of the guest: x86_64 or aarch64 [default: the host's]
    #[arg(long)]
    arch: Option<Arch>,
    /// The login account that the image is made for [default: core]
    #[arg(long)]
    user: Option<String>,
    /// What sets the guest up at its first boot
    #[arg(long, value_enum, default_value_t = SetUpBy::Auto)]
    provisioner: SetUpBy,
    /// Print only the result
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SetUpBy {
    Auto,
    Ignition,
    CloudInit,
}

pub fn run(args: ImportArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let interrupted = interrupt::flag();
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let request = ImportRequest {
        file: args.file,
        name: args.name,
        sha256: args.sha256,
        arch: args.arch.unwrap_or_else(Arch::host),
        user: args.user,
        provisioner: match args.provisioner {
            SetUpBy::Auto => Provisioner::Auto,
            SetUpBy::Ignition => Provisioner::Ignition,
            SetUpBy::CloudInit => Provisioner::CloudInit,
        },
    };
    let image = import(&context, &request, &Printer::new(verbosity), &interrupted)?;
    outln!("{}", image.source);
    Ok(0)
}
