//! Who may open a file or a directory: its access list.

use std::ffi::OsStr;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{FromRawHandle, OwnedHandle, RawHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetTokenInformation, PROTECTED_DACL_SECURITY_INFORMATION,
    SetFileSecurityW, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// Lets only this user and the system in, whatever the directory above it
/// grants (`P`); what is made below a directory later inherits that (`OICI`).
/// ssh.exe refuses a key that anybody else may read.
pub fn restrict_to_owner(path: &Path) -> io::Result<()> {
    let inherit = if path.is_dir() { "OICI" } else { "" };
    let user = user_sid()?;
    set_access(path, &format!("D:P(A;{inherit};FA;;;{user})(A;{inherit};FA;;;SY)"))
}

/// Replaces the access list of a file by one in Windows' own notation (SDDL).
fn set_access(path: &Path, sddl: &str) -> io::Result<()> {
    let (sddl, path) = (wide(OsStr::new(sddl)), wide(path.as_os_str()));
    let mut descriptor = ptr::null_mut();
    let what = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    // SAFETY: both texts end with a NUL; the descriptor is the system's until
    // it is given back, once.
    #[allow(unsafe_code)]
    unsafe {
        checked(ConvertStringSecurityDescriptorToSecurityDescriptorW(
            sddl.as_ptr(),
            SDDL_REVISION_1,
            &raw mut descriptor,
            ptr::null_mut(),
        ))?;
        let set = checked(SetFileSecurityW(path.as_ptr(), what, descriptor));
        LocalFree(descriptor);
        set
    }
}

/// This user's security identifier, as text (`S-1-5-21-...`).
fn user_sid() -> io::Result<String> {
    let mut token: RawHandle = ptr::null_mut();
    // Aligned for the structure at its start; a SID has at most 68 bytes.
    let mut buffer = [0u64; 16];
    let mut length = 0;
    let mut text = ptr::null_mut();
    // SAFETY: the token is closed by its owner; the buffer outlives what points
    // into it; the text ends with a NUL and is given back, once.
    #[allow(unsafe_code)]
    unsafe {
        checked(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token))?;
        let _token = OwnedHandle::from_raw_handle(token);
        let size = u32::try_from(size_of_val(&buffer)).unwrap_or(u32::MAX);
        let into = (&raw mut buffer).cast();
        checked(GetTokenInformation(token, TokenUser, into, size, &raw mut length))?;
        let user = &*(&raw const buffer).cast::<TOKEN_USER>();
        checked(ConvertSidToStringSidW(user.User.Sid, &raw mut text))?;
        let units = (0..).take_while(|at| *text.add(*at) != 0).map(|at| *text.add(at));
        let sid = String::from_utf16_lossy(&units.collect::<Vec<_>>());
        LocalFree(text.cast());
        Ok(sid)
    }
}

/// Text as Windows' functions take it, with a NUL at its end.
pub(super) fn wide(text: &OsStr) -> Vec<u16> {
    text.encode_wide().chain([0]).collect()
}

/// What a function of Windows says about its success.
pub(super) fn checked(answer: i32) -> io::Result<()> {
    if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_somebody() {
        let sid = user_sid().unwrap();
        assert!(sid.starts_with("S-1-5-"), "{sid}");
    }

    #[test]
    fn what_is_restricted_is_still_ours() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("Schlüssel und mehr");
        std::fs::create_dir(&inner).unwrap();
        restrict_to_owner(&inner).unwrap();
        let key = inner.join("key");
        std::fs::write(&key, "secret").unwrap();
        restrict_to_owner(&key).unwrap();
        assert_eq!(std::fs::read_to_string(&key).unwrap(), "secret");
        let error = restrict_to_owner(&inner.join("absent")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
