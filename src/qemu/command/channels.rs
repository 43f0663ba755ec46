//! What leads out of the VM but for its network: ports, console, monitor.

use std::ffi::OsString;

use super::{Launch, strings, with_path};
use crate::protocol::port;
use crate::qemu::endpoint::Endpoint;

/// The device by which the guest's agent is reached, as QEMU's monitor calls it.
pub const LINK_DEVICE: &str = "link0";

/// What the guest and this program say to each other by.
pub fn ports(launch: &Launch) -> Vec<OsString> {
    let ready = format!("virtserialport,chardev=ready,name={}", port::READY);
    let link = format!("virtserialport,chardev=link,name={},id={LINK_DEVICE}", port::LINK);
    [
        listener("ready", &launch.ready_socket),
        listener("link", &launch.link_socket),
        strings(&["-device", "virtio-serial-pci", "-device", &ready, "-device", &link]),
    ]
    .concat()
}

/// The serial console goes to a file, which a start never truncates.
pub fn console(launch: &Launch) -> Vec<OsString> {
    vec![
        "-chardev".into(),
        with_path("file,id=serial0,append=on,path=", &launch.serial_log),
        "-serial".into(),
        "chardev:serial0".into(),
    ]
}

/// By which QEMU itself is spoken to.
pub fn monitor(launch: &Launch) -> Vec<OsString> {
    let mode = strings(&["-mon", "chardev=qmp,mode=control"]);
    [listener("qmp", &launch.qmp_socket), mode].concat()
}

/// A socket that QEMU listens on without waiting for anybody.
fn listener(id: &str, endpoint: &Endpoint) -> Vec<OsString> {
    let options = format!("socket,id={id},server=on,wait=off,");
    let socket = match endpoint {
        Endpoint::Socket(path) => with_path(&format!("{options}path="), path),
        Endpoint::Loopback(port) => format!("{options}host=127.0.0.1,port={port}").into(),
    };
    vec!["-chardev".into(), socket]
}
