//! What a new network namespace is given, as values: which addresses, and
//! which name servers.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// What comes with a new network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Network {
    /// What unshare(2) leaves: a loopback device that is down.
    #[default]
    Bare,
    /// The loopback device, up.
    Loopback,
    /// That, and a way out through the machine, which translates addresses.
    Nat,
}

/// Which network a program of `nsvm run` has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mode {
    /// A new one with nothing but loopback.
    #[default]
    None,
    /// The machine's own.
    Host,
    /// A new one, and a way out through the machine.
    Nat,
}

impl Mode {
    /// The mode that is called so in options.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "none" => Some(Self::None),
            "host" => Some(Self::Host),
            "nat" => Some(Self::Nat),
            _ => None,
        }
    }
}

/// What the devices outside are called, before their number. The firewall
/// knows them by it.
pub const DEVICE: &str = "nsvm";

/// What the device inside is called, as in containers.
pub const DEVICE_INSIDE: &str = "eth0";

/// Where addresses are taken from, first to last: private ranges that neither
/// QEMU's user network (10.0.2.0/24) nor the defaults of podman, docker and
/// libvirt use.
const RANGES: [Block; 3] = [
    Block { address: Ipv4Addr::new(10, 207, 0, 0), length: 16 },
    Block { address: Ipv4Addr::new(172, 30, 207, 0), length: 24 },
    Block { address: Ipv4Addr::new(192, 168, 207, 0), length: 24 },
];

/// Addresses with a common prefix of `length` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub address: Ipv4Addr,
    pub length: u8,
}

impl Block {
    fn overlaps(self, other: Self) -> bool {
        let length = self.length.min(other.length).min(32);
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        self.address.to_bits() & mask == other.address.to_bits() & mask
    }

    const fn subnets(self) -> u32 {
        1 << (Subnet::LENGTH - self.length)
    }
}

/// The addresses of one namespace: four, of which two can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    number: u32,
    network: Ipv4Addr,
}

impl Subnet {
    pub const LENGTH: u8 = 30;

    /// The machine's end, the gateway.
    pub fn outside(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + 1)
    }

    /// The namespace's own address.
    pub fn inside(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + 2)
    }

    /// The device outside. Its name is what makes a subnet taken.
    pub fn device(self) -> String {
        format!("{DEVICE}{}", self.number)
    }
}

/// The subnets of which no address has a route yet. (A default route, which
/// has length 0, is one for none in particular.)
pub fn free(taken: &[Block]) -> impl Iterator<Item = Subnet> {
    let all = RANGES.iter().flat_map(|range| {
        let first = range.address.to_bits();
        (0..range.subnets()).map(move |place| Ipv4Addr::from_bits(first + 4 * place))
    });
    let numbered = (0..).zip(all).map(|(number, network)| Subnet { number, network });
    numbered.filter(|subnet| {
        let own = Block { address: subnet.network, length: Subnet::LENGTH };
        !taken.iter().any(|block| block.length > 0 && block.overlaps(own))
    })
}

/// Whether a resolv.conf(5) names a server that answers from another network
/// namespace too. (With none the resolver asks this host.)
pub fn has_reachable_server(resolv_conf: &str) -> bool {
    resolv_conf.lines().any(|line| {
        let mut words = line.split_whitespace();
        let server = words.next().filter(|word| *word == "nameserver").and(words.next());
        let address = server.and_then(|server| server.split('%').next()?.parse::<IpAddr>().ok());
        address.is_some_and(|address| !address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Block {
        let (address, length) = text.split_once('/').unwrap();
        Block { address: address.parse().unwrap(), length: length.parse().unwrap() }
    }

    fn first(taken: &[&str]) -> Option<(String, String, String)> {
        let taken: Vec<Block> = taken.iter().map(|text| block(text)).collect();
        let subnet = free(&taken).next()?;
        Some((subnet.device(), subnet.outside().to_string(), subnet.inside().to_string()))
    }

    #[test]
    fn subnets_avoid_every_route_but_the_default_one() {
        let found = |device: &str, outside: &str, inside: &str| {
            Some((device.to_owned(), outside.to_owned(), inside.to_owned()))
        };
        let slirp = ["0.0.0.0/0", "10.0.2.0/24", "10.0.2.15/32", "127.0.0.0/8"];
        assert_eq!(first(&slirp), found("nsvm0", "10.207.0.1", "10.207.0.2"));
        let one = ["10.207.0.0/30", "10.207.0.5/32"];
        assert_eq!(first(&one), found("nsvm2", "10.207.0.9", "10.207.0.10"));
        let vpn = ["10.0.0.0/8", "172.16.0.0/12"];
        assert_eq!(first(&vpn), found("nsvm16448", "192.168.207.1", "192.168.207.2"));
        assert_eq!(first(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]), None);
        assert_eq!(first(&["128.0.0.0/1"]).unwrap().0, "nsvm0");
        assert_eq!(free(&[]).count(), 16_384 + 64 + 64);
        // A device's name has at most 15 bytes.
        assert!(free(&[]).all(|subnet| subnet.device().len() < 16));
    }

    #[test]
    fn a_stub_on_this_host_is_no_server_for_other_namespaces() {
        assert!(has_reachable_server("search x\nnameserver 10.0.2.3\n"));
        assert!(has_reachable_server("nameserver 127.0.0.53\nnameserver fe80::1%eth0\n"));
        for none in ["", "nameserver 127.0.0.53\n", "#nameserver 1.1.1.1\n", "nameserver ::1\n"] {
            assert!(!has_reachable_server(none), "{none}");
        }
    }
}
