//! A way out of a new network namespace: a pair of devices, addresses, routes
//! and the translation of addresses, by netlink(7).
//!
//! ```text
//! program -- eth0 10.207.0.2/30 | nsvm0 10.207.0.1/30 -- machine -- outside
//!         the new namespace     | the agent's, nf_tables "nsvm"
//! ```
//!
//! Nothing of it is written down: which addresses are taken is what the
//! kernel's routes and devices say, and the pair goes with its namespace. The
//! table of rules is the same for all and stays. IPv4 only: QEMU's user
//! network gives a guest no IPv6 that leads out.

mod links;
mod netlink;
mod rules;

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;

use super::failure::{failed, refused};
use crate::namespace::network::{DEVICE_INSIDE, Subnet, free};
use crate::protocol::outcome::{FailedStep, Failure};
use links::Links;

/// The loopback device is the first of each namespace.
const LOOPBACK: u32 = 1;

/// What Ethernet carries, where there is no way out to measure.
const DEFAULT_MTU: u32 = 1500;

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("--network nat connects what is new to the network of all, which takes root: use sudo")]
    NotRoot,
    #[error("no private address is left for --network nat: routes take all of 10.207.0.0/16")]
    NoAddress,
    #[error("{doing}")]
    Kernel { doing: &'static str, source: io::Error },
}

impl NetworkError {
    /// As the reason why a program did not start.
    pub fn failure(&self) -> Failure {
        match self {
            Self::NoAddress | Self::NotRoot => refused(FailedStep::Network, self.to_string()),
            Self::Kernel { doing, source } => failed(FailedStep::Network, doing, source),
        }
    }
}

fn doing(doing: &'static str) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Kernel { doing, source }
}

/// Sets the loopback device of this process's own namespace up.
pub fn loopback_up() -> io::Result<()> {
    Links::open()?.set_up(LOOPBACK)
}

/// Connects the network namespace of process `target` to this process's own,
/// and moves this process there: it is one that ends afterwards.
pub fn connect(target: Pid) -> Result<(), NetworkError> {
    if !rustix::process::geteuid().is_root() {
        return Err(NetworkError::NotRoot);
    }
    rules::ensure().map_err(doing("cannot translate addresses (nf_tables, masquerade)"))?;
    forward().map_err(doing("cannot forward packets (net.ipv4.ip_forward)"))?;
    let subnet = outer_end(target)?;
    let inner = doing("cannot set up the network inside");
    inner_end(target, subnet).map_err(inner)
}

/// As docker and podman do; it stays so, because it is one switch for all.
fn forward() -> io::Result<()> {
    let switch = "/proc/sys/net/ipv4/ip_forward";
    match fs::read_to_string(switch)?.trim() {
        "1" => Ok(()),
        _ => fs::write(switch, "1"),
    }
}

/// Makes the pair, and the end that is here.
fn outer_end(target: Pid) -> Result<Subnet, NetworkError> {
    let failed = || doing("cannot set up the network device (veth)");
    let mut links = Links::open().map_err(failed())?;
    let routes = links.routes().map_err(failed())?;
    // Larger packets than the way out takes would be split.
    let mtu = match routes.way_out {
        Some(device) => links.mtu(device).map_err(failed())?,
        None => None,
    };
    for subnet in free(&routes.taken) {
        match links.add_pair(&subnet.device(), target, mtu.unwrap_or(DEFAULT_MTU)) {
            // Somebody else was faster: the name is the claim.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(failed()(e)),
            Ok(()) => {
                raise_outer(&mut links, subnet).map_err(failed())?;
                return Ok(subnet);
            }
        }
    }
    Err(NetworkError::NoAddress)
}

fn raise_outer(links: &mut Links, subnet: Subnet) -> io::Result<()> {
    let device = subnet.device();
    // Nobody sends in another's name, and there is no way around by IPv6,
    // which a kernel may lack.
    fs::write(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"), "1")?;
    let ipv6 = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
    if Path::new(&ipv6).exists() {
        fs::write(ipv6, "1")?;
    }
    let index = links.index(&device)?;
    links.add_address(index, subnet.outside(), Subnet::LENGTH)?;
    links.set_up(index)
}

fn inner_end(target: Pid, subnet: Subnet) -> io::Result<()> {
    setns(File::open(format!("/proc/{target}/ns/net"))?, CloneFlags::CLONE_NEWNET)?;
    let mut links = Links::open()?;
    links.set_up(LOOPBACK)?;
    let index = links.index(DEVICE_INSIDE)?;
    links.add_address(index, subnet.inside(), Subnet::LENGTH)?;
    links.set_up(index)?;
    links.add_default_route(index, subnet.outside())
}
