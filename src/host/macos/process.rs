//! What the kernel says of another process: sysctl(3) and libproc.

use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use crate::host::arguments::arguments;

/// The arguments of a process of this user's, as one text.
pub fn process_arguments(pid: u32) -> Option<String> {
    let mut name = [libc::CTL_KERN, libc::KERN_PROCARGS2, libc::c_int::try_from(pid).ok()?];
    // As much as arguments and environment may take together (`kern.argmax`).
    const MOST: usize = 1 << 20;
    let mut found = vec![0u8; MOST];
    let mut length = found.len();
    // SAFETY: the name has the length that is told, and no more is written than
    // there is room for.
    #[allow(unsafe_code)]
    let answer = unsafe {
        libc::sysctl(
            name.as_mut_ptr(),
            3,
            found.as_mut_ptr().cast(),
            &raw mut length,
            ptr::null_mut(),
            0,
        )
    };
    if answer != 0 {
        return None;
    }
    arguments(found.get(..length)?)
}

/// When a process was started, since 1970: with its number that names it, for
/// the number alone may come again. `None` when there is no such process.
pub fn process_started(pid: u32) -> Option<Duration> {
    let mut found = MaybeUninit::<libc::proc_bsdinfo>::zeroed();
    let size = libc::c_int::try_from(size_of_val(&found)).ok()?;
    // SAFETY: no more is written than there is room for, and any bytes are such
    // a structure, which is plain numbers.
    #[allow(unsafe_code)]
    let found = unsafe {
        let pid = libc::c_int::try_from(pid).ok()?;
        let into = found.as_mut_ptr().cast();
        if libc::proc_pidinfo(pid, libc::PROC_PIDTBSDINFO, 0, into, size) != size {
            return None;
        }
        found.assume_init()
    };
    Some(Duration::from_secs(found.pbi_start_tvsec) + Duration::from_micros(found.pbi_start_tvusec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_processes_apart() {
        let mut child = std::process::Command::new("/bin/sleep").arg("61.5").spawn().unwrap();
        let (own, its) = (process_started(std::process::id()), process_started(child.id()));
        assert!(own.is_some() && own < its, "{own:?} {its:?}");
        assert_eq!(its, process_started(child.id()));
        assert_eq!(process_arguments(child.id()).as_deref(), Some("/bin/sleep 61.5"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(process_started(child.id()), None);
    }
}
