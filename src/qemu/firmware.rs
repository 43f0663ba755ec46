//! UEFI firmware for `aarch64` guests. Those of `x86_64` boot by the BIOS that
//! QEMU brings along, which is 2 to 3 s faster than UEFI and always there.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::accel::Os;
use crate::host;
use crate::machine::config::Arch;

/// UEFI as QEMU is given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// Two flash devices: the code, which nobody writes, and the variables.
    /// Those found on this host are what a machine's own begin as.
    Flash { code: PathBuf, variables: PathBuf },
    /// One image, which need not be as large as a flash device (`-bios`). The
    /// guest's variables are not kept; it boots by the fallback path.
    Image(PathBuf),
}

impl Firmware {
    /// What the processor begins with.
    pub fn code(&self) -> &Path {
        let (Self::Flash { code, .. } | Self::Image(code)) = self;
        code
    }
}

/// The size of each flash device of the board `virt`: QEMU refuses files of
/// another (`hw/arm/virt.c`, `VIRT_FLASH`).
const FLASH_SIZE: u64 = 64 << 20;

/// QEMU's own build of edk2, below its data directory: code and variables,
/// which are those of 32-bit arm too.
const BUNDLED: (&str, Option<&str>) = ("edk2-aarch64-code.fd", Some("edk2-arm-vars.fd"));

/// Where distributions that split the firmware off put it.
const DISTRIBUTIONS: [(&str, Option<&str>); 7] = [
    // Debian, Ubuntu
    ("/usr/share/AAVMF/AAVMF_CODE.fd", Some("/usr/share/AAVMF/AAVMF_VARS.fd")),
    ("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", None),
    // Fedora
    (
        "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
        Some("/usr/share/edk2/aarch64/vars-template-pflash.raw"),
    ),
    ("/usr/share/edk2/aarch64/QEMU_EFI.fd", None),
    // Arch, Alpine
    ("/usr/share/edk2/aarch64/QEMU_CODE.fd", Some("/usr/share/edk2/aarch64/QEMU_VARS.fd")),
    // older Arch
    ("/usr/share/edk2-armvirt/aarch64/QEMU_EFI.fd", None),
    // openSUSE
    ("/usr/share/qemu/aavmf-aarch64-code.bin", Some("/usr/share/qemu/aavmf-aarch64-vars.bin")),
];

/// Files that belong together, where they would be.
pub type Place = (PathBuf, Option<PathBuf>);

/// Where to look, best first: beside the QEMU in use, then where systems keep
/// it. Nothing for a guest that needs none.
pub fn search_list(os: Os, qemu: &Path, guest: Arch) -> Vec<Place> {
    if guest == Arch::X86_64 {
        return Vec::new();
    }
    let (code, variables) = BUNDLED;
    let in_dir = |dir: PathBuf| (dir.join(code), variables.map(|name| dir.join(name)));
    let mut list: Vec<Place> = data_dirs(os, qemu).into_iter().map(in_dir).collect();
    if os == Os::Linux {
        list.extend(
            DISTRIBUTIONS.map(|(code, variables)| (code.into(), variables.map(PathBuf::from))),
        );
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

/// The first whose code is there: as flash, if its variables are there too and
/// both fit.
pub fn first_present(list: &[Place]) -> Option<Firmware> {
    let (code, variables) = list.iter().find(|(code, _)| code.is_file())?.clone();
    let fits = |path: &Path| fs::metadata(path).is_ok_and(|found| found.len() == FLASH_SIZE);
    Some(match variables {
        Some(variables) if fits(&code) && fits(&variables) => Firmware::Flash { code, variables },
        _ => Firmware::Image(code),
    })
}

/// Gives a machine variables of its own if it has none: a copy without what in
/// it is empty, which is nearly all. Losing them costs nothing: a guest that
/// finds no entry of its own boots by the fallback path.
pub fn ensure_variables(template: &Path, own: &Path) -> io::Result<()> {
    if fs::metadata(own).is_ok_and(|found| found.len() == FLASH_SIZE) {
        return Ok(());
    }
    let begun = own.with_extension("new");
    let mut to = File::create(&begun)?;
    host::restrict_to_owner(&begun)?;
    copy_sparse(File::open(template)?.take(FLASH_SIZE), &mut to)?;
    to.set_len(FLASH_SIZE)?;
    to.sync_all()?;
    drop(to);
    fs::rename(&begun, own)
}

fn copy_sparse(mut from: impl Read, to: &mut File) -> io::Result<()> {
    let mut block = vec![0u8; 64 << 10];
    loop {
        match from.read(&mut block)? {
            0 => return Ok(()),
            count if block[..count].iter().all(|byte| *byte == 0) => {
                to.seek(SeekFrom::Current(i64::try_from(count).unwrap_or(i64::MAX)))?;
            }
            count => to.write_all(&block[..count])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(os: Os, qemu: &str) -> Vec<Place> {
        search_list(os, Path::new(qemu), Arch::Aarch64)
    }

    fn pair(dir: &str) -> Place {
        let dir = Path::new(dir);
        (dir.join("edk2-aarch64-code.fd"), Some(dir.join("edk2-arm-vars.fd")))
    }

    #[test]
    fn x86_64_needs_no_firmware_file() {
        assert!(search_list(Os::Linux, Path::new("/usr/bin/q"), Arch::X86_64).is_empty());
    }

    #[test]
    fn the_files_beside_the_program_come_first() {
        let others = ["/opt/homebrew/share/qemu", "/usr/local/share/qemu", "/opt/local/share/qemu"];
        for (qemu, first) in [
            (
                "/opt/homebrew/Cellar/qemu/10.1.0/bin/qemu-system-aarch64",
                Some("/opt/homebrew/Cellar/qemu/10.1.0/share/qemu"),
            ),
            ("/opt/qemu/bin/qemu-system-aarch64", Some("/opt/qemu/share/qemu")),
            ("/opt/homebrew/bin/qemu-system-aarch64", None),
        ] {
            let expected: Vec<Place> = first.into_iter().chain(others).map(pair).collect();
            assert_eq!(list(Os::MacOs, qemu), expected);
        }
        let ports = list(Os::MacOs, "/opt/local/bin/qemu-system-aarch64");
        assert_eq!(ports[0], pair("/opt/local/share/qemu"));
    }

    #[test]
    fn linux_also_knows_where_distributions_keep_it() {
        let list = list(Os::Linux, "/usr/bin/qemu-system-aarch64");
        assert_eq!(list[0], pair("/usr/share/qemu"));
        for (code, variables) in DISTRIBUTIONS {
            assert!(list.contains(&(code.into(), variables.map(PathBuf::from))), "{code}");
        }
    }

    fn file(dir: &Path, name: &str, len: u64) -> PathBuf {
        let path = dir.join(name);
        File::create(&path).unwrap().set_len(len).unwrap();
        path
    }

    #[test]
    fn the_first_that_is_there_wins_and_is_flash_if_it_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let code = file(dir, "code", FLASH_SIZE);
        let variables = file(dir, "vars", FLASH_SIZE);
        let short = file(dir, "short", 2 << 20);
        let absent = dir.join("absent");
        let found = |list: &[(&PathBuf, Option<&PathBuf>)]| {
            let list: Vec<Place> = list.iter().map(|(c, v)| ((*c).clone(), v.cloned())).collect();
            first_present(&list)
        };
        let flash = Firmware::Flash { code: code.clone(), variables: variables.clone() };
        let image = Firmware::Image;
        assert_eq!(found(&[(&absent, Some(&variables)), (&code, Some(&variables))]), Some(flash));
        assert_eq!(found(&[(&code, Some(&absent))]), Some(image(code.clone())));
        assert_eq!(found(&[(&code, Some(&short))]), Some(image(code.clone())));
        assert_eq!(found(&[(&short, Some(&variables))]), Some(image(short.clone())));
        assert_eq!(found(&[(&code, None)]), Some(image(code.clone())));
        assert_eq!(found(&[(&absent, None)]), None);
    }

    #[test]
    fn a_machine_gets_variables_of_its_own_once() {
        let dir = tempfile::tempdir().unwrap();
        let (template, own) = (file(dir.path(), "vars", FLASH_SIZE), dir.path().join("own.fd"));
        let mark = |path: &Path, text: &[u8], at: u64| {
            let mut file = File::options().write(true).open(path).unwrap();
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(text).unwrap();
        };
        mark(&template, b"_FVH", 40);
        mark(&template, b"end", FLASH_SIZE - 3);
        ensure_variables(&template, &own).unwrap();
        assert!(fs::read(&own).unwrap() == fs::read(&template).unwrap());
        let taken = host::allocated_bytes(&fs::metadata(&own).unwrap());
        assert!(cfg!(windows) || taken < 1 << 20, "{taken} bytes");
        assert!(host::is_owners_alone(&own).unwrap());
        // The guest's own words stay; a file that was cut off is made anew.
        mark(&own, b"guest", 0);
        ensure_variables(&template, &own).unwrap();
        assert!(fs::read(&own).unwrap().starts_with(b"guest"));
        File::options().write(true).open(&own).unwrap().set_len(7).unwrap();
        ensure_variables(&template, &own).unwrap();
        assert!(fs::read(&own).unwrap() == fs::read(&template).unwrap());
    }
}
