//! What this computer has: memory, room on its disks, and a name for its boot.

use std::io;
use std::os::windows::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr;

use windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW;
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

use super::access::{checked, wide};

/// Physical memory in bytes.
pub fn memory_bytes() -> Option<u64> {
    Some(memory()?.ullTotalPhys)
}

/// Memory in bytes that programs can take without pushing others out.
pub fn memory_available() -> Option<u64> {
    Some(memory()?.ullAvailPhys)
}

fn memory() -> Option<MEMORYSTATUSEX> {
    let mut status = MEMORYSTATUSEX {
        dwLength: u32::try_from(size_of::<MEMORYSTATUSEX>()).ok()?,
        ..Default::default()
    };
    // SAFETY: the structure tells its own length.
    #[allow(unsafe_code)]
    checked(unsafe { GlobalMemoryStatusEx(&raw mut status) }).ok()?;
    Some(status)
}

/// Free and total bytes of the volume that holds the directory `path`, as far
/// as this user may take them.
pub fn disk_space(path: &Path) -> io::Result<(u64, u64)> {
    let path = wide(path.as_os_str());
    let (mut free, mut total) = (0, 0);
    // SAFETY: the path ends with a NUL.
    #[allow(unsafe_code)]
    checked(unsafe {
        GetDiskFreeSpaceExW(path.as_ptr(), &raw mut free, &raw mut total, ptr::null_mut())
    })?;
    Ok((free, total))
}

/// The length: nobody asks here which parts of a file are holes.
pub fn allocated_bytes(found: &std::fs::Metadata) -> u64 {
    found.file_size()
}

/// The number of this boot, which Windows counts for its prefetcher.
pub fn boot_id() -> Option<String> {
    const KEY: &str =
        r"SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters";
    let key = windows_registry::LOCAL_MACHINE.open(KEY).ok()?;
    Some(key.get_u32("BootId").ok()?.to_string())
}

/// Where QEMU's installer put it: `Install_Dir` of the key that `qemu.nsi`
/// writes.
pub fn qemu_directory() -> Option<PathBuf> {
    written_down(windows_registry::LOCAL_MACHINE, r"SOFTWARE\QEMU")
}

fn written_down(root: &windows_registry::Key, key: &str) -> Option<PathBuf> {
    root.open(key).ok()?.get_string("Install_Dir").ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_tells_where_a_program_was_installed() {
        let key = format!(r"SOFTWARE\nsvm-test-{}", std::process::id());
        let user = windows_registry::CURRENT_USER;
        assert_eq!(written_down(user, &key), None);
        user.create(&key).unwrap().set_string("Install_Dir", r"D:\Tools\QEMU").unwrap();
        let found = written_down(user, &key);
        user.remove_tree(&key).unwrap();
        assert_eq!(found, Some(PathBuf::from(r"D:\Tools\QEMU")));
    }

    #[test]
    fn this_computer_has_memory_and_a_disk() {
        let (all, free) = (memory_bytes().unwrap(), memory_available().unwrap());
        assert!(all > 64 << 20 && free > 0 && free <= all, "{free} of {all}");
        let (free, total) = disk_space(&std::env::temp_dir()).unwrap();
        assert!(total > 1 << 20 && free <= total, "{free} of {total}");
        assert!(disk_space(Path::new(r"C:\no such place\x")).is_err());
    }
}
