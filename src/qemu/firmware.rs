//! UEFI firmware for `aarch64` guests. Those of `x86_64` boot by the BIOS that
//! QEMU brings along, which is 2 to 3 s faster than UEFI and always there.

use std::path::{Path, PathBuf};

use super::accel::Os;
use crate::machine::config::Arch;

/// QEMU's own build of edk2, below its data directory.
const BUNDLED: &str = "edk2-aarch64-code.fd";

/// Where distributions that split the firmware off put it.
const DISTRIBUTIONS: [&str; 6] = [
    "/usr/share/AAVMF/AAVMF_CODE.fd",              // Debian, Ubuntu
    "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",     // Debian, Ubuntu
    "/usr/share/edk2/aarch64/QEMU_EFI.fd",         // Fedora
    "/usr/share/edk2/aarch64/QEMU_CODE.fd",        // Arch, Alpine
    "/usr/share/edk2-armvirt/aarch64/QEMU_EFI.fd", // older Arch
    "/usr/share/qemu/aavmf-aarch64-code.bin",      // openSUSE
];

/// Files to look for, best first: beside the QEMU in use, then where systems
/// keep them. Nothing for a guest that needs none.
pub fn search_list(os: Os, qemu: &Path, guest: Arch) -> Vec<PathBuf> {
    if guest == Arch::X86_64 {
        return Vec::new();
    }
    let mut list: Vec<PathBuf> =
        data_dirs(os, qemu).into_iter().map(|dir| dir.join(BUNDLED)).collect();
    if os == Os::Linux {
        list.extend(DISTRIBUTIONS.map(PathBuf::from));
    }
    list
}

/// QEMU's data directories: relative to the program, then the usual prefixes.
fn data_dirs(os: Os, qemu: &Path) -> Vec<PathBuf> {
    let beside = qemu.parent().unwrap_or(Path::new(""));
    if os == Os::Windows {
        return vec![beside.join("share"), beside.to_owned()];
    }
    let prefix = beside.parent().unwrap_or(beside);
    let prefixes: &[&str] = match os {
        Os::MacOs => &["/opt/homebrew", "/usr/local", "/opt/local"],
        _ => &["/usr/local", "/usr"],
    };
    let mut dirs = vec![prefix.join("share/qemu")];
    dirs.extend(prefixes.iter().map(|prefix| Path::new(prefix).join("share/qemu")));
    dirs.dedup();
    dirs
}

/// The first file of a list that is there.
pub fn first_present(list: &[PathBuf]) -> Option<PathBuf> {
    list.iter().find(|path| path.is_file()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(os: Os, qemu: &str) -> Vec<PathBuf> {
        search_list(os, Path::new(qemu), Arch::Aarch64)
    }

    #[test]
    fn x86_64_needs_no_firmware_file() {
        assert!(search_list(Os::Linux, Path::new("/usr/bin/q"), Arch::X86_64).is_empty());
    }

    #[test]
    fn the_files_beside_the_program_come_first() {
        let cellar = "/opt/homebrew/Cellar/qemu/10.1.0/bin/qemu-system-aarch64";
        assert_eq!(
            list(Os::MacOs, cellar),
            [
                "/opt/homebrew/Cellar/qemu/10.1.0/share/qemu/edk2-aarch64-code.fd",
                "/opt/homebrew/share/qemu/edk2-aarch64-code.fd",
                "/usr/local/share/qemu/edk2-aarch64-code.fd",
                "/opt/local/share/qemu/edk2-aarch64-code.fd",
            ]
            .map(PathBuf::from)
        );
    }

    #[test]
    fn linux_also_knows_where_distributions_keep_it() {
        let list = list(Os::Linux, "/usr/bin/qemu-system-aarch64");
        assert_eq!(list[0], Path::new("/usr/share/qemu/edk2-aarch64-code.fd"));
        assert!(list.contains(&DISTRIBUTIONS[0].into()));
        assert!(list.contains(&DISTRIBUTIONS[2].into()));
    }

    #[test]
    fn the_first_present_file_wins() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("b");
        std::fs::write(&there, "").unwrap();
        let list = [dir.path().join("a"), there.clone(), dir.path().to_owned()];
        assert_eq!(first_present(&list), Some(there));
        assert_eq!(first_present(&list[..1]), None);
    }
}
