//! A netlink(7) socket: requests out, answers back. The kernel answers while
//! a request is sent, so nothing here waits for long.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Loading the modules that a request needs can take seconds on an emulated
/// processor; a kernel that takes longer than this has lost the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The kernel puts up to 32 KiB of a dump into one answer.
const ANSWER: usize = 32 * 1024;

/// A message of any kind, its payload not read. (To read each of the hundreds
/// that the library knows would make the agent a third larger.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    kind: u16,
    payload: Vec<u8>,
}

impl Message {
    /// A message of a kind (`RTM_NEWLINK`, say).
    pub fn new(kind: u16, content: &impl Emitable) -> Self {
        let mut payload = vec![0; content.buffer_len()];
        content.emit(&mut payload);
        Self { kind, payload }
    }

    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.payload.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..self.payload.len()].copy_from_slice(&self.payload);
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self { kind: header.message_type, payload: payload.to_vec() })
    }
}

pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// `None` is the protocol of links and routes.
    pub fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// One request with `flags`, until the kernel has acknowledged it.
    pub fn request(&mut self, message: Message, flags: u16) -> io::Result<()> {
        let bytes = self.encode(message, flags | NLM_F_ACK);
        self.send(&bytes)?;
        self.answers(self.sequence).map(drop)
    }

    /// Requests of which all or none are carried out. The kernel acknowledges
    /// the last but one: the last ends the batch.
    pub fn batch(&mut self, messages: Vec<(Message, u16)>) -> io::Result<()> {
        let (mut bytes, count) = (Vec::new(), messages.len());
        for (place, (message, flags)) in (1..).zip(messages) {
            let asks = if place + 1 == count { NLM_F_ACK } else { 0 };
            bytes.extend(self.encode(message, flags | asks));
        }
        self.send(&bytes)?;
        self.answers(self.sequence - 1).map(drop)
    }

    /// Everything of a kind.
    pub fn dump(&mut self, message: Message) -> io::Result<Vec<Message>> {
        let bytes = self.encode(message, NLM_F_DUMP);
        self.send(&bytes)?;
        self.answers(self.sequence)
    }

    fn encode(&mut self, message: Message, flags: u16) -> Vec<u8> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        send(&self.socket, bytes, SendFlags::empty())?;
        Ok(())
    }

    /// All until the one that ends the answer to request `last`, or an error.
    fn answers(&self, last: u32) -> io::Result<Vec<Message>> {
        let mut found = Vec::new();
        let mut buffer = vec![0; ANSWER];
        loop {
            let (count, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            if take(&buffer[..count], last, &mut found)? {
                return Ok(found);
            }
        }
    }
}

/// Takes the messages out of `bytes`; whether the answer is complete.
fn take(mut bytes: &[u8], last: u32, found: &mut Vec<Message>) -> io::Result<bool> {
    /// Of a message's header (netlink(7)).
    const HEADER: usize = 16;
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    while let Some(length) = bytes.first_chunk().map(|first| u32::from_ne_bytes(*first) as usize) {
        let one = bytes.get(..length).filter(|one| one.len() >= HEADER).ok_or_else(broken)?;
        let message = NetlinkMessage::<Message>::deserialize(one).map_err(|_| broken())?;
        let is_last = message.header.sequence_number == last;
        match message.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::Error(_) | NetlinkPayload::Done(_) if is_last => return Ok(true),
            NetlinkPayload::InnerMessage(inner) => found.push(inner),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    const RTM_NEWLINK: u16 = 16;
    const RTM_GETLINK: u16 = 18;

    #[test]
    fn the_kernel_answers_dumps_and_refusals() {
        let mut netlink = Netlink::open(None).unwrap();
        let mut link = LinkMessage::default();
        let links = netlink.dump(Message::new(RTM_GETLINK, &link)).unwrap();
        assert!(links.iter().any(|answer| answer.kind == RTM_NEWLINK), "{links:?}");
        link.header.index = 0x7fff_fff0;
        let refused = netlink.request(Message::new(RTM_GETLINK, &link), 0).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(nix::libc::ENODEV));
    }

    #[test]
    fn broken_answers_end() {
        let mut found = Vec::new();
        for bytes in [&[0; 4][..], &[255; 40], &[16, 0, 0, 0, 9]] {
            assert!(take(bytes, 1, &mut found).is_err(), "{bytes:?}");
        }
        assert!(!take(&[], 1, &mut found).unwrap() && found.is_empty());
    }
}
