//! The machine type of a guest (`-machine`), and what goes with it.

use super::accel::Accelerator;
use super::command::Kernel;
use crate::machine::config::Arch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    Q35,
    /// Without the devices of a PC that a guest of ours has no use for. Only a kernel
    /// that QEMU starts itself comes up on it.
    MicroVm,
    Virt,
}

/// Of a kernel's arguments: it comes up on that board, and its system needs nothing
/// that only a PC has. Linux leaves words with a dot that no module knows alone.
const ASKS_FOR_MICROVM: &str = "nsvm.board=microvm";

/// What this host is able to do.
#[derive(Debug, Clone, Copy)]
pub struct Able {
    pub accelerator: Accelerator,
    /// Whether this QEMU has the machine type.
    pub microvm: bool,
    /// Whether the rate of the guest's time stamp counter is known, which under TCG is
    /// the host's. The board has no clock that a guest could measure it by: that
    /// fails at random, and the guest stops.
    pub tsc: bool,
}

impl Board {
    pub fn choose(arch: Arch, kernel: Option<&Kernel>, able: Able) -> Self {
        let runs = match able.accelerator {
            Accelerator::Tcg => able.tsc,
            // Not tried, and there is less to win: a kernel looks at a PC's devices for
            // 0.4 s only where it is translated.
            Accelerator::Kvm | Accelerator::Hvf | Accelerator::Whpx => false,
        };
        match arch {
            Arch::Aarch64 => Self::Virt,
            Arch::X86_64 if kernel.is_some_and(asks_for_microvm) && able.microvm && runs => {
                Self::MicroVm
            }
            Arch::X86_64 => Self::Q35,
        }
    }

    /// The value of `-machine`.
    pub const fn options(self) -> &'static str {
        match self {
            // graphics=off: the BIOS and boot loaders write to the serial port,
            // so that its log shows why a disk does not boot. The rest are devices
            // that no guest of ours uses: less to attack, no difference in time.
            Self::Q35 => "q35,graphics=off,vmport=off,smbus=off,sata=off",
            // pcie: the same virtio devices as elsewhere. rtc: what time it is.
            Self::MicroVm => "microvm,acpi=on,pcie=on,rtc=on,pit=on,pic=on",
            // The newest interrupt controller there is: version 2 ends at 8 CPUs.
            Self::Virt => "virt,gic-version=max,highmem=on",
        }
    }

    /// What it calls its memory, in saved states too: so a guest whose memory was in a
    /// file goes on where it is not, and the other way round.
    pub const fn memory(self) -> &'static str {
        match self {
            Self::Q35 => "pc.ram",
            Self::MicroVm => "microvm.ram",
            Self::Virt => "mach-virt.ram",
        }
    }

    /// Whether it takes QEMU's device `vmgenid`.
    pub const fn has_generation(self) -> bool {
        matches!(self, Self::Q35)
    }
}

pub fn asks_for_microvm(kernel: &Kernel) -> bool {
    kernel.arguments.split(' ').any(|word| word == ASKS_FOR_MICROVM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(arguments: &str) -> Kernel {
        Kernel { image: "/k".into(), initrd: "/i".into(), arguments: arguments.into() }
    }

    #[test]
    fn microvm_is_for_kernels_that_ask_where_it_works() {
        let all = Able { accelerator: Accelerator::Tcg, microvm: true, tsc: true };
        let asking = kernel("quiet nsvm.board=microvm a=b");
        let of = |able| Board::choose(Arch::X86_64, Some(&asking), able);
        assert_eq!(of(all), Board::MicroVm);
        for less in [
            Able { tsc: false, ..all },
            Able { microvm: false, ..all },
            Able { accelerator: Accelerator::Kvm, ..all },
            Able { accelerator: Accelerator::Hvf, ..all },
        ] {
            assert_eq!(of(less), Board::Q35, "{less:?}");
        }
        assert_eq!(Board::choose(Arch::X86_64, Some(&kernel("quiet")), all), Board::Q35);
        assert_eq!(Board::choose(Arch::X86_64, None, all), Board::Q35);
        assert_eq!(Board::choose(Arch::Aarch64, Some(&asking), all), Board::Virt);
    }
}
