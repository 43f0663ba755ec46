//! The numbers that the network subsystem has for network namespaces, asked
//! of rtnetlink(7).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::RawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// From `linux/rtnetlink.h` and `linux/net_namespace.h`.
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const NLM_F_REQUEST: u16 = 1;

/// Of a netlink header, and with the padded family behind it.
const HEADER: usize = 16;
const ATTRIBUTES: usize = 20;

/// A socket to ask, if there is one.
pub struct NetIds(Option<File>);

impl NetIds {
    pub fn open() -> Self {
        let flags = SocketFlags::CLOEXEC;
        // NETLINK_ROUTE is 0, the default.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None);
        Self(socket.ok().map(File::from))
    }

    /// The number of the namespace that `file` has open; -1: it has none.
    pub fn of(&mut self, file: RawFd) -> Option<i32> {
        let socket = self.0.as_mut()?;
        socket.write_all(&request(file)).ok()?;
        // The kernel answers a request before its send returns.
        let mut answer = [0; 256];
        let count = socket.read(&mut answer).ok()?;
        parse(&answer[..count])
    }
}

fn request(file: RawFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(28u32.to_ne_bytes());
    bytes.extend(RTM_GETNSID.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence, port, and the family AF_UNSPEC.
    bytes.extend([0; 12]);
    bytes.extend(8u16.to_ne_bytes());
    bytes.extend(NETNSA_FD.to_ne_bytes());
    bytes.extend(file.to_ne_bytes());
    bytes
}

fn parse(answer: &[u8]) -> Option<i32> {
    let short = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    if answer.len() < HEADER || short(4)? != RTM_NEWNSID {
        return None;
    }
    let mut at = ATTRIBUTES;
    while let (Some(length @ 4..), Some(kind)) = (short(at), short(at + 2)) {
        if kind == NETNSA_NSID {
            return Some(i32::from_ne_bytes(answer.get(at + 4..at + 8)?.try_into().ok()?));
        }
        at += usize::from(length).next_multiple_of(4);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers() {
        let own = File::open("/proc/self/ns/net").unwrap();
        let id = NetIds::open().of(std::os::fd::AsRawFd::as_raw_fd(&own));
        assert!(id.is_some_and(|id| id >= -1), "{id:?}");
        assert_eq!(parse(&[0; 7]), None);
    }
}
