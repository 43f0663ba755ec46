//! Processes: kept apart from our console, told by their arguments, ended.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::process::{Child, Command};

use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation, WAIT_OBJECT_0};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, DETACHED_PROCESS, OpenProcess,
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, PROCESS_VM_READ,
    TerminateProcess, WaitForSingleObject,
};

use super::access::checked;
use super::command_line::command_line;
use crate::host::Ending;

/// How long a process that was ended may take to be gone.
const END_PATIENCE_MS: u32 = 5000;

/// The supervisor is created detached; there is nothing to leave.
pub fn leave_session() -> io::Result<()> {
    Ok(())
}

/// Puts a child out of reach of the Ctrl-C that ends its parent.
pub fn own_group(command: &mut Command) {
    command.creation_flags(CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP);
}

/// The system trims what a process does not use by itself.
pub fn forget_start() {}

/// Nothing to do: the heap returns large blocks by itself.
pub fn return_free_memory() {}

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

/// Prepares a child that shall outlive this process and its console, and holds
/// none of its pipes.
pub fn detach(command: &mut Command) {
    close_inherited_files();
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}

/// Children inherit every handle that is marked so, and those that a parent gave
/// us as standard streams are: a pipe of ours would stay open as long as any
/// child lives. Streams that a child is to have are marked when it starts.
pub fn close_inherited_files() {
    for stream in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: a stream that does not exist is refused.
        #[allow(unsafe_code)]
        unsafe {
            SetHandleInformation(GetStdHandle(stream), HANDLE_FLAG_INHERIT, 0);
        }
    }
}

/// Kills the process `pid` if `argument` is among its arguments, and waits
/// for its end; `false` when it is not that process.
pub fn kill_process_with_argument(pid: u32, argument: &str) -> io::Result<bool> {
    let rights = PROCESS_QUERY_LIMITED_INFORMATION
        | PROCESS_VM_READ
        | PROCESS_TERMINATE
        | PROCESS_SYNCHRONIZE;
    // From here on the handle stands for this very process, whatever becomes
    // of its number.
    let Some(process) = open(pid, rights) else { return Ok(false) };
    if !command_line(&process)?.contains(argument) {
        return Ok(false);
    }
    // SAFETY: the handle is open.
    #[allow(unsafe_code)]
    let ended = unsafe {
        checked(TerminateProcess(process.as_raw_handle(), 1))?;
        WaitForSingleObject(process.as_raw_handle(), END_PATIENCE_MS)
    };
    if ended == WAIT_OBJECT_0 { Ok(true) } else { Err(io::ErrorKind::TimedOut.into()) }
}

fn open(pid: u32, rights: u32) -> Option<OwnedHandle> {
    // SAFETY: a handle that is not null is ours to close.
    #[allow(unsafe_code)]
    unsafe {
        let handle = OpenProcess(rights, 0, pid);
        (!handle.is_null()).then(|| OwnedHandle::from_raw_handle(handle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_with_the_argument_is_killed() {
        let mut command = Command::new("cmd.exe");
        command.args(["/d", "/q", "/c", "set /p nothing= & rem 2f9c4f0a-1c5e-4d0e"]);
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(!kill_process_with_argument(child.id(), "another").unwrap());
        assert!(child.try_wait().unwrap().is_none());
        assert!(kill_process_with_argument(child.id(), "2f9c4f0a-1c5e-4d0e").unwrap());
        assert!(child.wait().unwrap().code().is_some());
    }
}
