//! Where a guest's memory lies.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Launch, strings, with_path};

/// Whose bytes a guest's memory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ram {
    /// QEMU's. What the guest frees goes back to the host.
    Own,
    /// QEMU's, and stays so: the guest began on a memory from a file.
    Kept,
    /// This file's, which the guest writes.
    Written(PathBuf),
    /// This file's until the guest writes to a page, which is its own then.
    /// Several guests share what none of them has written.
    Copied {
        file: PathBuf,
        /// Whether this QEMU can open the file for reading alone.
        read_only: bool,
    },
}

impl Ram {
    /// Whether the guest may give memory back. A balloon gives it back by making
    /// holes in the file, also where the guest's pages are copies: one guest
    /// could then change the memory of all others.
    pub const fn has_balloon(&self) -> bool {
        matches!(self, Self::Own)
    }

    /// The same as far as a guest can notice it.
    #[must_use]
    pub const fn noticed(&self) -> Self {
        if self.has_balloon() { Self::Own } else { Self::Kept }
    }
}

/// What `-machine` has to say of it.
pub(super) fn of_machine(launch: &Launch) -> String {
    match launch.ram {
        Ram::Own | Ram::Kept => String::new(),
        Ram::Written(_) | Ram::Copied { .. } => {
            format!(",memory-backend={}", launch.board.memory())
        }
    }
}

pub(super) fn backend(launch: &Launch) -> Vec<OsString> {
    let (file, access) = match &launch.ram {
        Ram::Own | Ram::Kept => return Vec::new(),
        Ram::Written(file) => (file, "share=on"),
        // `readonly` alone would make the guest's memory a ROM.
        Ram::Copied { file, read_only: true } => (file, "share=off,readonly=on,rom=off"),
        Ram::Copied { file, read_only: false } => (file, "share=off"),
    };
    let (id, size) = (launch.board.memory(), launch.memory.0);
    let options = format!("memory-backend-file,id={id},size={size}M,{access},mem-path=");
    vec!["-object".into(), with_path(&options, file)]
}

/// Randomness for the guest, and memory it does not use back for the host.
pub(super) fn small_devices(launch: &Launch) -> Vec<OsString> {
    let balloon = "virtio-balloon-pci,free-page-reporting=on,deflate-on-oom=on";
    let rng = strings(&["-device", "virtio-rng-pci"]);
    let balloon =
        if launch.ram.has_balloon() { strings(&["-device", balloon]) } else { Vec::new() };
    [rng, balloon].concat()
}
