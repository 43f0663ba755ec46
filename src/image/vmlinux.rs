//! The kernel proper inside a bzImage. QEMU starts that by PVH (an ELF note that
//! Xen defined), so the guest need not unpack it: 0.8 s on an emulated CPU.

use std::io::Read;

/// Those of distributions have some 60 MiB.
const UNPACKED_MAX: u64 = 256 << 20;

/// Of the first sectors (Documentation/arch/x86/boot.rst, protocol 2.08).
const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: std::ops::Range<usize> = 0x202..0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// `PT_NOTE` (elf(5)).
const NOTE: u32 = 4;

/// `XEN_ELFNOTE_PHYS32_ENTRY` of the name "Xen" (xen/include/public/elfnote.h).
const PVH: [u8; 8] = [18, 0, 0, 0, b'X', b'e', b'n', 0];

/// The ELF file that a bzImage packs with zstd; `None` for any other kernel, and
/// for one that cannot be entered by PVH.
pub fn of(kernel: &[u8]) -> Option<Vec<u8>> {
    (kernel.get(MAGIC)? == b"HdrS").then_some(())?;
    // 0 means 4, for reasons of the last century.
    let sectors = usize::from(*kernel.get(SETUP_SECTORS)?);
    let code = (if sectors == 0 { 4 } else { sectors } + 1) * 512;
    let start = code.checked_add(number(kernel, PAYLOAD_OFFSET)?)?;
    let payload = kernel.get(start..start.checked_add(number(kernel, PAYLOAD_LENGTH)?)?)?;
    // What follows the frame is its unpacked length once more.
    let frame = zstd::Decoder::with_buffer(payload).ok()?.single_frame();
    let mut elf = Vec::new();
    frame.take(UNPACKED_MAX + 1).read_to_end(&mut elf).ok()?;
    (elf.len() as u64 <= UNPACKED_MAX && has_pvh(&elf)).then_some(elf)
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(four.try_into().ok()?)).ok()
}

/// Whether one of the notes says where to enter (elf(5), 64 bits, little-endian).
fn has_pvh(elf: &[u8]) -> bool {
    let header = elf.get(..64).filter(|header| header.starts_with(b"\x7fELF\x02\x01"));
    let Some(header) = header else { return false };
    let Some(first) = number(header, 32) else { return false };
    let count = usize::from(u16::from_le_bytes([header[56], header[57]]));
    (0..count).filter_map(|at| notes(elf, first.checked_add(at * 56)?)).any(|notes| {
        // type and name of a note lie side by side
        notes.windows(PVH.len()).step_by(4).any(|words| words == PVH)
    })
}

/// What the program header at `at` shows, if it shows notes.
fn notes(elf: &[u8], at: usize) -> Option<&[u8]> {
    (number(elf, at)? == NOTE as usize).then_some(())?;
    let start = number(elf, at.checked_add(8)?)?;
    let length = number(elf, at.checked_add(32)?)?;
    elf.get(start..start.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with one program header, of these notes.
    fn elf(kind: u32, notes: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 120];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[56] = 1;
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        file[72] = 120;
        file[96] = u8::try_from(notes.len()).unwrap();
        file.extend(notes);
        file
    }

    /// Lengths of name and text, type, name, text.
    fn note(kind: u8) -> Vec<u8> {
        [[4, 0, 0, 0], [4, 0, 0, 0], [kind, 0, 0, 0], *b"Xen\0", [1; 4]].concat()
    }

    fn bz_image(payload: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 1024];
        file[SETUP_SECTORS] = 1;
        file[MAGIC].copy_from_slice(b"HdrS");
        file[PAYLOAD_OFFSET] = 16;
        let length = u32::try_from(payload.len()).unwrap();
        file[PAYLOAD_LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
        file.extend([7; 16]);
        file.extend(payload);
        file.extend([9; 50]);
        file
    }

    /// As the kernel's build does it: the length follows.
    fn packed(elf: &[u8]) -> Vec<u8> {
        let mut payload = zstd::encode_all(elf, 1).unwrap();
        payload.extend(u32::try_from(elf.len()).unwrap().to_le_bytes());
        payload
    }

    #[test]
    fn a_kernel_that_knows_pvh_is_unpacked() {
        let inner = elf(NOTE, &[note(6), note(18)].concat());
        assert_eq!(of(&bz_image(&packed(&inner))), Some(inner));
    }

    #[test]
    fn all_else_stays_as_it_is() {
        let good = bz_image(&packed(&elf(NOTE, &note(18))));
        let mut no_magic = good.clone();
        no_magic[MAGIC.start] = 0;
        let cases = [
            ("no note", bz_image(&packed(&elf(NOTE, &note(6))))),
            ("no notes", bz_image(&packed(&elf(1, &note(18))))),
            ("no ELF", bz_image(&packed(&[1; 300]))),
            ("not zstd", bz_image(&[2; 300])),
            ("no bzImage", no_magic),
            ("nothing", Vec::new()),
        ];
        for (what, kernel) in cases {
            assert_eq!(of(&kernel), None, "{what}");
        }
        // Wherever it is cut, nobody panics.
        for length in 0..good.len() - 54 {
            assert_eq!(of(&good[..length]), None, "{length}");
        }
    }
}
