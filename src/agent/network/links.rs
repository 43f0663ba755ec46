//! Devices, addresses and routes (rtnetlink(7)) of the network namespace in
//! which the socket was opened.

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::unistd::Pid;
use rustix::net::netdevice::name_to_index;

use super::netlink::Netlink;
use crate::namespace::network::{Block, DEVICE_INSIDE};

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

pub struct Links(Netlink);

/// What the IPv4 routes say.
#[derive(Debug, Default)]
pub struct Routes {
    /// Where each of them leads.
    pub taken: Vec<Block>,
    /// The device of the default route.
    pub way_out: Option<u32>,
}

impl Links {
    pub fn open() -> io::Result<Self> {
        Netlink::open(None).map(Self)
    }

    pub fn index(&self, device: &str) -> io::Result<u32> {
        Ok(name_to_index(self.0.socket(), device)?)
    }

    /// Of all tables, the local one included, where each own address is.
    pub fn routes(&mut self) -> io::Result<Routes> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        let mut routes = Routes::default();
        for answer in self.0.dump(RouteNetlinkMessage::GetRoute(message))? {
            let RouteNetlinkMessage::NewRoute(route) = answer else { continue };
            routes.taken.push(destination(&route));
            if is_default(&route) && routes.way_out.is_none() {
                routes.way_out = route.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Oif(index) => Some(*index),
                    _ => None,
                });
            }
        }
        Ok(routes)
    }

    /// The largest packet of a device, if it is still there.
    pub fn mtu(&mut self, index: u32) -> io::Result<Option<u32>> {
        let all = self.0.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let found = all.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) if link.header.index == index => Some(link),
            _ => None,
        });
        let attributes = found.map(|link| link.attributes).unwrap_or_default();
        Ok(attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(mtu),
            _ => None,
        }))
    }

    /// Makes two devices that are connected, one here and one in the network
    /// namespace of process `target`. `AlreadyExists` when the name is taken.
    pub fn add_pair(&mut self, device: &str, target: Pid, mtu: u32) -> io::Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(DEVICE_INSIDE.to_owned()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::NetNsPid(target.as_raw().unsigned_abs()),
        ];
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(device.to_owned()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        self.0.request(RouteNetlinkMessage::NewLink(message), NEW)
    }

    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.0.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// With the route to its neighbours, which the kernel adds.
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr, length: u8) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = length;
        message.header.index = index;
        message.attributes = vec![
            AddressAttribute::Local(address.into()),
            AddressAttribute::Address(address.into()),
        ];
        self.0.request(RouteNetlinkMessage::NewAddress(message), NEW)
    }

    pub fn add_default_route(&mut self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes =
            vec![RouteAttribute::Gateway(RouteAddress::Inet(gateway)), RouteAttribute::Oif(index)];
        self.0.request(RouteNetlinkMessage::NewRoute(message), NEW)
    }
}

fn destination(route: &RouteMessage) -> Block {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    });
    let length = route.header.destination_prefix_length;
    Block { address: address.unwrap_or(Ipv4Addr::UNSPECIFIED), length }
}

fn is_default(route: &RouteMessage) -> bool {
    route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast
}
