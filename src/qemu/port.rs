//! A TCP port on the host's loopback for the guest's sshd.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// `preferred` if nothing listens there, else a port the kernel picks. Only
/// 127.0.0.1 is asked, for only there will QEMU listen. The port is free when
/// this returns; another program may still win the race to it, and then QEMU ends
/// at once.
pub fn free_port(preferred: Option<u16>) -> io::Result<u16> {
    if let Some(port) = preferred
        && bind(port).is_ok()
    {
        return Ok(port);
    }
    bind(0)
}

fn bind(port: u16) -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_kept_and_a_taken_one_moves() {
        let first = free_port(None).unwrap();
        assert_eq!(free_port(Some(first)).unwrap(), first);
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert_ne!(free_port(Some(first)).unwrap(), first);
    }
}
