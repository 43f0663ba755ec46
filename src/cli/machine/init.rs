//! `nsvm machine init`

use std::path::PathBuf;

use crate::app::Context;
use crate::app::init::{InitRequest, init};
use crate::app::provisioning::{Choice, ProvisionRequest};
use crate::app::start::{StartRequest, start};
use crate::cli::image::options::ImageOptions;
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{environment, interrupt};
use crate::host;
use crate::machine::event::Progress;
use crate::machine::units::{GiB, MiB};

/// Make a new machine
///
/// Gets and verifies the image, makes the machine's disk, keys and
/// provisioning. Nothing is started unless --now is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine init --cpus 2 --memory 4096 --disk-size 40 work")]
pub struct InitArgs {
    #[command(flatten)]
    which: super::Which,
    /// Number of CPUs [default: half of the host's]
    #[arg(long)]
    cpus: Option<u32>,
    /// Memory in MiB
    #[arg(short, long, value_name = "MiB", default_value_t = 2048)]
    memory: u64,
    /// Size of the disk in GiB; it takes space only as it fills
    #[arg(long, value_name = "GiB", default_value_t = 100)]
    disk_size: u64,
    /// Swap in MiB, made at the first boot
    #[arg(long, value_name = "MiB", default_value_t = 0, conflicts_with = "ignition_path")]
    swap: u64,
    /// What to boot: a known image, the path of a disk image, or a URL
    /// [default: fedora-coreos:stable]
    #[arg(long)]
    image: Option<String>,
    #[command(flatten)]
    options: ImageOptions,
    /// Your own Ignition file, used byte for byte instead of nsvm's
    #[arg(long, value_name = "FILE")]
    ignition_path: Option<PathBuf>,
    /// Ignition config to merge with nsvm's; where both speak, yours holds
    #[arg(long, value_name = "FILE", conflicts_with = "ignition_path")]
    ignition_merge: Option<PathBuf>,
    /// cloud-init user data to merge with nsvm's; where both speak, yours holds
    #[arg(long, value_name = "FILE", conflicts_with = "ignition_path")]
    cloud_init: Option<PathBuf>,
    /// Who sets the guest up: auto, ignition, cloud-init or none
    #[arg(long, value_name = "WHO", default_value = "auto", conflicts_with = "ignition_path")]
    provisioner: Choice,
    /// Time zone of the guest, such as Europe/Berlin [default: the host's]
    #[arg(long, value_name = "ZONE", default_value = "local", hide_default_value = true)]
    #[arg(conflicts_with = "ignition_path")]
    timezone: String,
    /// PEM file with certificates that the guest shall trust (repeatable)
    #[arg(long, value_name = "FILE", conflicts_with = "ignition_path")]
    guest_ca: Vec<PathBuf>,
    /// The user in the guest [default: what the image is made for]
    #[arg(long)]
    username: Option<String>,
    /// Make root the user that commands run as
    #[arg(long)]
    rootful: bool,
    /// Start the machine when it is made
    #[arg(long)]
    now: bool,
    /// Print only the result
    #[arg(short, long)]
    quiet: bool,
}

impl InitArgs {
    /// Fills in the defaults that depend on this host and its user.
    fn resolve(self, context: &Context) -> InitRequest {
        InitRequest {
            name: self.which.name,
            cpus: self.cpus.unwrap_or_else(|| (host::cpus() / 2).max(1)),
            memory: MiB(self.memory),
            disk_size: GiB(self.disk_size),
            image: self.options.request(self.image, context),
            provision: ProvisionRequest {
                choice: self.provisioner,
                own_ignition: self.ignition_path,
                ignition_merge: self.ignition_merge,
                cloud_init: self.cloud_init,
                time_zone: self.timezone,
                swap: MiB(self.swap),
                authorities: self.guest_ca,
            },
            username: self.username,
            rootful: self.rootful,
        }
    }
}

pub fn run(args: InitArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let interrupted = interrupt::flag();
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let printer = Printer::new(verbosity);
    let now = args.now;
    let request = args.resolve(&context);
    let config = init(&context, &request, &printer, &interrupted)?;
    let name = &config.name;
    if !now {
        println!("Machine init complete");
        (&printer as &dyn Progress)
            .note(format!("To start your machine run:\n\n\tnsvm machine start {name}\n"));
        return Ok(0);
    }
    println!("Machine init complete");
    start(&context, name, StartRequest::default(), &printer, &interrupted)?;
    println!("Machine \"{name}\" started successfully");
    Ok(0)
}
