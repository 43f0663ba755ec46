//! `nsvm machine init`

use std::path::PathBuf;

use super::podman::InitOptions;
use crate::app::Context;
use crate::app::connections::{AsDefault, Program, connect};
use crate::app::init::{InitRequest, init};
use crate::app::provisioning::{Choice, ProvisionRequest};
use crate::app::sharing::Sharing;
use crate::app::start::{StartRequest, start};
use crate::cli::image::options::ImageOptions;
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{environment, interrupt};
use crate::host;
use crate::machine::event::Progress;
use crate::machine::idle::IdleTime;
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
    /// Memory in MiB [default: 2048]
    #[arg(short, long, value_name = "MiB")]
    memory: Option<u64>,
    /// Size of the disk in GiB; it takes space only as it fills [default: 100]
    #[arg(long, value_name = "GiB")]
    disk_size: Option<u64>,
    /// Swap in MiB, made at the first boot [default: 0]
    #[arg(short, long, value_name = "MiB", conflicts_with = "ignition_path")]
    swap: Option<u64>,
    /// What to boot: a known image, the path of a disk image, or a URL
    /// [default: fedora-coreos:stable]
    #[arg(long, alias = "image-path")]
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
    #[arg(long, value_name = "ZONE", conflicts_with = "ignition_path")]
    timezone: Option<String>,
    /// PEM file with certificates that the guest shall trust (repeatable)
    #[arg(long, value_name = "FILE", conflicts_with = "ignition_path")]
    guest_ca: Vec<PathBuf>,
    /// The guest trusts the certificate authorities that this host trusts
    #[arg(long, conflicts_with = "ignition_path")]
    import_native_ca: bool,
    /// Ansible playbook to run in the guest at its first start, where the image
    /// has Ansible
    #[arg(long, value_name = "FILE", conflicts_with = "ignition_path")]
    playbook: Option<PathBuf>,
    /// The user in the guest [default: what the image is made for]
    #[arg(long)]
    username: Option<String>,
    /// Directory of the host that the guest sees, by default at the same path
    /// (repeatable)
    #[arg(short, long, value_name = "SRC[:DST[:ro|rw]]")]
    volume: Vec<String>,
    /// Port of the guest on 127.0.0.1 of the host (repeatable)
    #[arg(short, long, value_name = "HOST:GUEST")]
    publish: Vec<String>,
    /// Suspend it when nothing has used it for so long, such as 10m; the next
    /// command resumes it [default: off]
    #[arg(long, value_name = "TIME", conflicts_with = "ignition_path")]
    idle_suspend: Option<IdleTime>,
    /// Make root the user that commands run as
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    rootful: Option<bool>,
    /// Let podman on this host work in the machine, and by default
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    update_connection: Option<bool>,
    /// Start the machine when it is made
    #[arg(long)]
    now: bool,
    /// Print only the result
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    of_podman: InitOptions,
}

impl InitArgs {
    /// What no flag says comes from the config files and from this host.
    fn resolve(self, context: &Context) -> InitRequest {
        let default = context.machine.clone();
        // A guest with its own Ignition file takes nothing of ours.
        let (swap, volumes, idle_suspend) = match self.ignition_path {
            Some(_) => (MiB(0), Vec::new(), IdleTime::OFF),
            None => (default.swap, default.volumes, default.idle_suspend),
        };
        let volumes = if self.volume.is_empty() { volumes } else { self.volume };
        InitRequest {
            name: self.which.name.unwrap_or_default(),
            cpus: self.cpus.unwrap_or(default.cpus),
            memory: self.memory.map_or(default.memory, MiB),
            disk_size: self.disk_size.map_or(default.disk_size, GiB),
            image: self.options.request(self.image.or(default.image), context),
            provision: ProvisionRequest {
                choice: self.provisioner,
                own_ignition: self.ignition_path.map(host::as_typed),
                ignition_merge: self.ignition_merge.map(host::as_typed),
                cloud_init: self.cloud_init.map(host::as_typed),
                time_zone: self.timezone.unwrap_or(default.timezone),
                swap: self.swap.map_or(swap, MiB),
                authorities: self.guest_ca.into_iter().map(host::as_typed).collect(),
                native_authorities: self.import_native_ca,
                playbook: self.playbook.map(host::as_typed),
            },
            username: self.username.or(default.user),
            rootful: self.rootful.unwrap_or(default.rootful),
            sharing: Sharing { volumes, ports: self.publish },
            idle_suspend: self.idle_suspend.unwrap_or(idle_suspend),
        }
    }
}

pub fn run(args: InitArgs) -> anyhow::Result<u8> {
    args.of_podman.check()?;
    let context = environment::context()?;
    let interrupted = interrupt::flag();
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let printer = Printer::new(verbosity);
    let (now, connects) = (args.now, args.update_connection == Some(true));
    let request = args.resolve(&context);
    let config = init(&context, &request, &printer, &interrupted)?;
    let name = &config.name;
    if connects {
        connect(&context, name, Program::Podman, AsDefault::Yes, &printer)?;
    }
    if !now {
        outln!("Machine init complete");
        (&printer as &dyn Progress)
            .note(format!("To start your machine run:\n\n\tnsvm machine start {name}\n"));
        return Ok(0);
    }
    outln!("Machine init complete");
    start(&context, name, StartRequest::default(), &printer, &interrupted)?;
    outln!("Machine \"{name}\" started successfully");
    Ok(0)
}
