//! The console as a terminal of other systems: keys come as the sequences that
//! a guest's programs know, and the sequences that they print are obeyed.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::windows::io::AsRawHandle;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::System::Console::{
    CONSOLE_MODE, DISABLE_NEWLINE_AUTO_RETURN, ENABLE_PROCESSED_OUTPUT,
    ENABLE_VIRTUAL_TERMINAL_INPUT, ENABLE_VIRTUAL_TERMINAL_PROCESSING, GetConsoleMode,
    GetStdHandle, ReadConsoleW, STD_INPUT_HANDLE, SetConsoleMode,
};

use super::access::checked;
use crate::host::text::{Printed, Typed};

/// What the console's modes were before.
static BEFORE: Mutex<Option<[CONSOLE_MODE; 2]>> = Mutex::new(None);

/// Input and output of the console, whatever the standard streams are.
const ENDS: [&str; 2] = ["CONIN$", "CONOUT$"];

/// What each of them does from [`speak_sequences`] on. Without the last one a
/// line feed would also return the carriage.
const ADDED: [CONSOLE_MODE; 2] = [
    ENABLE_VIRTUAL_TERMINAL_INPUT,
    ENABLE_PROCESSED_OUTPUT | ENABLE_VIRTUAL_TERMINAL_PROCESSING | DISABLE_NEWLINE_AUTO_RETURN,
];

/// Has the console send and obey sequences, until [`restore_console`].
pub fn speak_sequences() -> io::Result<()> {
    let ends = [open(ENDS[0])?, open(ENDS[1])?];
    let modes = [mode(&ends[0])?, mode(&ends[1])?];
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(modes);
    for ((end, mode), added) in ends.iter().zip(modes).zip(ADDED) {
        set_mode(end, mode | added)?;
    }
    Ok(())
}

/// Gives the console all the modes that it had, raw mode included.
pub fn restore_console() {
    let Some(modes) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    for (name, mode) in ENDS.into_iter().zip(modes) {
        // A console that has gone needs no modes.
        let _ = open(name).and_then(|end| set_mode(&end, mode));
    }
}

fn open(name: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(name)
}

fn mode(end: &File) -> io::Result<CONSOLE_MODE> {
    let mut mode = 0;
    // SAFETY: the handle is open.
    #[allow(unsafe_code)]
    checked(unsafe { GetConsoleMode(end.as_raw_handle(), &raw mut mode) })?;
    Ok(mode)
}

fn set_mode(end: &File, mode: CONSOLE_MODE) -> io::Result<()> {
    // SAFETY: the handle is open.
    #[allow(unsafe_code)]
    checked(unsafe { SetConsoleMode(end.as_raw_handle(), mode) })
}

/// The keys of a raw console. The standard library would take Ctrl-Z for the end
/// of the input.
#[derive(Debug, Default)]
pub struct Keys {
    typed: Typed,
    pending: Vec<u8>,
}

impl Read for Keys {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut units = [0u16; 256];
        while self.pending.is_empty() {
            let mut count = 0;
            // SAFETY: no more units are written than there is room for.
            #[allow(unsafe_code)]
            checked(unsafe {
                ReadConsoleW(
                    GetStdHandle(STD_INPUT_HANDLE),
                    units.as_mut_ptr().cast(),
                    256,
                    &raw mut count,
                    ptr::null(),
                )
            })?;
            let count = usize::try_from(count).unwrap_or(0).min(units.len());
            self.typed.append(&units[..count], &mut self.pending);
        }
        let count = into.len().min(self.pending.len());
        into[..count].copy_from_slice(&self.pending[..count]);
        self.pending.drain(..count);
        Ok(count)
    }
}

/// What is typed, while the terminal is raw.
pub fn keys() -> impl Read + Send + 'static {
    Keys::default()
}

/// A standard stream that takes any bytes, also if it is the console.
pub fn screen(stream: impl Write + IsTerminal + Send + 'static) -> Box<dyn Write + Send> {
    if stream.is_terminal() { Box::new(Printed::new(stream)) } else { Box::new(stream) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes() -> io::Result<[CONSOLE_MODE; 2]> {
        Ok([mode(&open(ENDS[0])?)?, mode(&open(ENDS[1])?)?])
    }

    #[test]
    fn the_console_has_its_modes_back() {
        let Ok(before) = modes() else {
            assert!(std::env::var_os("NSVM_TEST_CONSOLE").is_none(), "no console");
            eprintln!("SKIPPED: this test needs a console");
            return;
        };
        for _ in 0..2 {
            speak_sequences().unwrap();
            for (now, added) in modes().unwrap().into_iter().zip(ADDED) {
                assert_eq!(now & added, added, "{now:#x}");
            }
        }
        restore_console();
        assert_eq!(modes().unwrap(), before);
    }
}
