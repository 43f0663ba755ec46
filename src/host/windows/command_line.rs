//! The command line of another process, read where that process keeps it.
//!
//! `ProcessCommandLineInformation` would hand it over, but Wine does not know
//! that. The structures are those of `winternl.h`; programs of the same width
//! (nsvm and QEMU both have 64 bits) have them alike.

use std::io;
use std::mem::MaybeUninit;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Wdk::System::Threading::{NtQueryInformationProcess, ProcessBasicInformation};
use windows_sys::Win32::System::Diagnostics::Debug::ReadProcessMemory;
use windows_sys::Win32::System::Threading::{
    PEB, PROCESS_BASIC_INFORMATION, RTL_USER_PROCESS_PARAMETERS,
};

use super::access::checked;

/// The command line of a process that was opened with
/// `PROCESS_QUERY_LIMITED_INFORMATION` and `PROCESS_VM_READ`.
pub fn command_line(process: &OwnedHandle) -> io::Result<String> {
    let mut basic = PROCESS_BASIC_INFORMATION::default();
    let size = u32::try_from(size_of_val(&basic)).unwrap_or(u32::MAX);
    // SAFETY: the structure has the size that is told.
    #[allow(unsafe_code)]
    let status = unsafe {
        NtQueryInformationProcess(
            process.as_raw_handle(),
            ProcessBasicInformation,
            (&raw mut basic).cast(),
            size,
            ptr::null_mut(),
        )
    };
    if status < 0 {
        return Err(io::Error::other(format!("cannot look into a process (NTSTATUS {status:#x})")));
    }
    let block: PEB = read(process, basic.PebBaseAddress)?;
    let parameters: RTL_USER_PROCESS_PARAMETERS = read(process, block.ProcessParameters)?;
    let line = parameters.CommandLine;
    let mut units = vec![0u16; usize::from(line.Length) / 2];
    copy(process, line.Buffer, &mut units)?;
    Ok(String::from_utf16_lossy(&units))
}

/// A plain structure of another process, whose every bit pattern is one.
fn read<T: Copy>(process: &OwnedHandle, from: *const T) -> io::Result<T> {
    let mut found = [MaybeUninit::<T>::zeroed()];
    copy(process, from.cast(), &mut found)?;
    let [found] = found;
    // SAFETY: all of it was written; pointers in it are never followed here.
    #[allow(unsafe_code)]
    Ok(unsafe { found.assume_init() })
}

/// Fills `into` with what another process has at `from`.
fn copy<T>(process: &OwnedHandle, from: *const T, into: &mut [T]) -> io::Result<()> {
    let (length, mut copied) = (size_of_val(into), 0);
    // SAFETY: no more is written than `into` has room for; the system refuses
    // what the other process does not have.
    #[allow(unsafe_code)]
    checked(unsafe {
        ReadProcessMemory(
            process.as_raw_handle(),
            from.cast(),
            into.as_mut_ptr().cast(),
            length,
            &raw mut copied,
        )
    })?;
    if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
