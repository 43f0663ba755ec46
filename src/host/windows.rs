//! Windows.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::Ending;

/// Process creation flags (winbase.h).
const CREATE_NO_WINDOW: u32 = 0x0800_0000;
const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;

/// Everything below the user's profile admits that user (and the system)
/// alone: the profile's access list is inherited.
pub fn restrict_to_owner(_: &Path) -> io::Result<()> {
    Ok(())
}

/// As [`restrict_to_owner`] has it: by what the file inherits.
pub fn is_owners_alone(path: &Path) -> io::Result<bool> {
    std::fs::metadata(path).map(|_| true)
}

/// Users have no numbers here.
pub fn user_id() -> Option<u32> {
    None
}

pub fn allow_default(_: &Path) -> io::Result<()> {
    Ok(())
}

/// A file that is open cannot be removed here.
pub fn is_file_at(_: &File, _: &Path) -> bool {
    true
}

/// Access denied (5) and sharing violation (32): another program has the
/// target of a rename open for a moment.
pub fn is_sharing_violation(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(5 | 32))
}

/// A directory for sockets whose path is short.
pub fn short_runtime_dir(tag: &str) -> PathBuf {
    std::env::temp_dir().join(format!("nsvm-{tag}"))
}

pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)
}

/// The supervisor is created detached; there is nothing to leave.
pub fn leave_session() -> io::Result<()> {
    Ok(())
}

/// A lock belongs to the process that took it (`LockFileEx`), so no child
/// inherits one.
pub fn inherit(_: &mut Command, _: &File) -> io::Result<bool> {
    Ok(false)
}

/// Doubles every occurrence of an ASCII character and leaves all else as it
/// is, whether or not it is Unicode.
pub fn double(value: &OsStr, ascii: u8) -> OsString {
    let units = value.encode_wide();
    let twice = |unit| 1 + usize::from(unit == u16::from(ascii));
    let doubled: Vec<u16> = units.flat_map(|unit| std::iter::repeat_n(unit, twice(unit))).collect();
    OsString::from_wide(&doubled)
}

/// Puts a child out of reach of the Ctrl-C that ends its parent.
pub fn own_group(command: &mut Command) {
    command.creation_flags(CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP);
}

/// Windows has no such wish for a single child.
pub fn end_with_parent(_: &mut Command) {}

/// Keeps a console program from opening a window of its own.
pub fn hide_window(command: &mut Command) {
    command.creation_flags(CREATE_NO_WINDOW);
}

/// There are no groups to signal: the child itself is ended.
pub fn end_group(child: &mut Child, ending: Ending) {
    if ending == Ending::Forced {
        let _ = child.kill();
    }
}

/// Physical memory in bytes.
pub fn memory_bytes() -> Option<u64> {
    None
}

/// Memory in bytes that programs can take without pushing others out.
pub fn memory_available() -> Option<u64> {
    None
}

/// Free and total bytes of the volume; unknown until it is asked for by
/// `GetDiskFreeSpaceEx`.
pub fn disk_space(_: &Path) -> io::Result<(u64, u64)> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The length: nobody asks here which parts of a file are holes.
pub fn allocated_bytes(found: &std::fs::Metadata) -> u64 {
    found.len()
}

/// Nothing on Windows names a boot; cached answers then live for a day.
pub fn boot_id() -> Option<String> {
    None
}

/// Prepares a child that shall outlive this process and its console.
pub fn detach(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const DETACHED_PROCESS: u32 = 0x8;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}

/// Handles are inherited only where a program asks for it.
pub fn close_inherited_files() {}

/// Not offered: without the arguments of a process nothing proves which it is.
pub fn kill_process_with_argument(_: u32, _: &str) -> io::Result<bool> {
    Ok(false)
}

/// Whether TLS reads `SSL_CERT_FILE` of itself. Windows asks its own store.
pub fn tls_reads_ssl_cert_file() -> bool {
    false
}

/// Where an administrator puts settings for all users: below the usual value of
/// `%ProgramData%`, which only administrators write.
pub fn system_config_dir() -> PathBuf {
    r"C:\ProgramData\nsvm".into()
}
