//! Devices, addresses and routes (rtnetlink(7)) of the network namespace in
//! which the socket was opened.

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::{NLA_HEADER_SIZE, NLM_F_CREATE, NLM_F_EXCL, NlasIterator};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use nix::unistd::Pid;
use rustix::net::netdevice::name_to_index;

use super::netlink::{Message, Netlink};
use crate::namespace::network::{Block, DEVICE_INSIDE};

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// Of `linux/rtnetlink.h`.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
/// `struct rtmsg`: its length, and where it has the prefix and the type.
const ROUTE_HEADER: usize = 12;
const ROUTE_LENGTH: usize = 1;
const ROUTE_TYPE: usize = 7;

/// Of `linux/if_link.h`, and `struct ifinfomsg` with its index.
const IFLA_MTU: u16 = 4;
const LINK_HEADER: usize = 16;
const LINK_INDEX: std::ops::Range<usize> = 4..8;

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
        for answer in self.0.dump(Message::new(RTM_GETROUTE, &message))? {
            let route = answer.payload();
            let Some(block) = destination(route) else { continue };
            routes.taken.push(block);
            if block.length == 0 && route[ROUTE_TYPE] == u8::from(RouteType::Unicast) {
                let device = number(attribute(route, ROUTE_HEADER, RTA_OIF));
                routes.way_out = routes.way_out.or(device);
            }
        }
        Ok(routes)
    }

    /// The largest packet of a device, if it is still there.
    pub fn mtu(&mut self, index: u32) -> io::Result<Option<u32>> {
        let all = self.0.dump(Message::new(RTM_GETLINK, &LinkMessage::default()))?;
        let is_it = |link: &[u8]| number(link.get(LINK_INDEX)) == Some(index);
        let found = all.iter().map(Message::payload).find(|link| is_it(link));
        Ok(found.and_then(|link| number(attribute(link, LINK_HEADER, IFLA_MTU))))
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
        self.0.request(Message::new(RTM_NEWLINK, &message), NEW)
    }

    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.0.request(Message::new(RTM_SETLINK, &message), 0)
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
        self.0.request(Message::new(RTM_NEWADDR, &message), NEW)
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
        self.0.request(Message::new(RTM_NEWROUTE, &message), NEW)
    }
}

/// Where a route leads; a default route has no such attribute.
fn destination(route: &[u8]) -> Option<Block> {
    if route.len() < ROUTE_HEADER {
        return None;
    }
    let address = number(attribute(route, ROUTE_HEADER, RTA_DST)).map(u32::from_be);
    let address = address.map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from_bits);
    Some(Block { address, length: route[ROUTE_LENGTH] })
}

/// The value of an attribute behind a header.
fn attribute(message: &[u8], header: usize, kind: u16) -> Option<&[u8]> {
    let mut all = NlasIterator::new(message.get(header..)?).map_while(Result::ok);
    let found = all.find(|attribute| attribute.kind() == kind)?;
    let (start, length) = (NLA_HEADER_SIZE, usize::from(found.length()));
    found.into_inner().get(start..length)
}

fn number(value: Option<&[u8]>) -> Option<u32> {
    Some(u32::from_ne_bytes(value?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;

    use super::*;

    fn bytes(of: &impl Emitable) -> Vec<u8> {
        let mut bytes = vec![0; of.buffer_len()];
        of.emit(&mut bytes);
        bytes
    }

    #[test]
    fn routes_are_read_as_the_library_writes_them() {
        let mut route = RouteMessage::default();
        route.header.destination_prefix_length = 24;
        let address = Ipv4Addr::new(10, 0, 2, 0);
        route.attributes = vec![
            RouteAttribute::Gateway(RouteAddress::Inet(Ipv4Addr::new(10, 0, 2, 2))),
            RouteAttribute::Destination(RouteAddress::Inet(address)),
            RouteAttribute::Oif(7),
        ];
        let written = bytes(&route);
        assert_eq!(destination(&written), Some(Block { address, length: 24 }));
        assert_eq!(number(attribute(&written, ROUTE_HEADER, RTA_OIF)), Some(7));
        assert_eq!(attribute(&written, ROUTE_HEADER, 99), None);
        assert_eq!(destination(&written[..5]), None);
        // An attribute that claims to be longer than the message.
        let mut broken = written;
        broken[ROUTE_HEADER] = 200;
        assert_eq!(attribute(&broken, ROUTE_HEADER, RTA_DST), None);
    }

    #[test]
    fn the_kernel_tells_of_loopback() {
        let mut links = Links::open().unwrap();
        let index = links.index("lo").unwrap();
        assert_eq!(index, 1);
        assert!(links.mtu(index).unwrap().is_some_and(|mtu| mtu >= 1500));
        links.routes().unwrap();
    }
}
