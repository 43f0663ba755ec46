//! What a program may do, beyond what namespaces keep from it.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities as own, remove_capability_from_bounding_set,
    set_capabilities,
};

/// What podman leaves to root in a container: enough for package managers and
/// servers, nothing about mounts, networks or the kernel.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SYS_CHROOT);

/// For this process and all that come from it.
pub fn capabilities() -> io::Result<()> {
    let sets = own(None)?;
    for capability in CapabilitySet::all().difference(KEPT).iter() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not know yet.
            Err(rustix::io::Errno::INVAL) => {}
            result => result?,
        }
    }
    let kept = sets.permitted.intersection(KEPT);
    let none = CapabilitySet::empty();
    Ok(set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: none },
    )?)
}
