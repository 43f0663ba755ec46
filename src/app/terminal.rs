//! This side's terminal: whether to use it, its size, and raw mode that is
//! undone whatever happens.

use std::io::IsTerminal;

use crate::host;
use crate::protocol::request::{Size, Terminal};

/// `-t`, `-T` or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TtyChoice {
    /// A terminal when stdin and stdout are terminals.
    #[default]
    Auto,
    Force,
    Never,
}

/// A terminal was forced, but there is none to take keys from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use a terminal: standard input is not one")]
pub struct NoTerminal;

/// Whether the program gets a terminal.
pub const fn decide(choice: TtyChoice, stdin: bool, stdout: bool) -> Result<bool, NoTerminal> {
    match choice {
        TtyChoice::Auto => Ok(stdin && stdout),
        TtyChoice::Never => Ok(false),
        TtyChoice::Force if stdin => Ok(true),
        TtyChoice::Force => Err(NoTerminal),
    }
}

/// The terminal to ask for, seen from this process.
pub fn wanted(choice: TtyChoice) -> Result<Option<Terminal>, NoTerminal> {
    let use_it = decide(choice, std::io::stdin().is_terminal(), std::io::stdout().is_terminal())?;
    Ok(use_it.then(|| {
        let term = std::env::var_os("TERM").unwrap_or_else(|| "xterm-256color".into());
        Terminal { term: term.into_encoded_bytes().into(), size: size() }
    }))
}

/// The terminal's size; 24 by 80 when it does not tell.
pub fn size() -> Size {
    let found = crossterm::terminal::window_size().ok().filter(|s| s.rows > 0 && s.columns > 0);
    let known = |s: crossterm::terminal::WindowSize| Size {
        rows: s.rows,
        cols: s.columns,
        xpixel: s.width,
        ypixel: s.height,
    };
    found.map_or_else(size_in_characters, known)
}

/// Windows knows no pixels.
fn size_in_characters() -> Size {
    let (cols, rows) = crossterm::terminal::size().unwrap_or((80, 24));
    Size { rows, cols, ..Size::default() }
}

/// Raw mode, from [`RawMode::enter`] until dropped. It is undone on a panic
/// too, before its message is printed, and by [`leave_raw_mode`] when a
/// signal ends the process.
pub struct RawMode(());

impl RawMode {
    pub fn enter() -> std::io::Result<Self> {
        static HOOK: std::sync::Once = std::sync::Once::new();
        // First, for it keeps the modes that all was before.
        host::speak_sequences()?;
        let raw = Self(());
        crossterm::terminal::enable_raw_mode()?;
        HOOK.call_once(|| {
            let print = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                leave_raw_mode();
                print(panic);
            }));
        });
        Ok(raw)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        leave_raw_mode();
    }
}

/// Gives the terminal back its old modes, if raw mode was entered.
pub fn leave_raw_mode() {
    // A terminal that has gone needs no modes.
    let _ = crossterm::terminal::disable_raw_mode();
    host::restore_console();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_used_between_two_terminals_or_when_forced() {
        for (choice, stdin, stdout, expected) in [
            (TtyChoice::Auto, true, true, Ok(true)),
            (TtyChoice::Auto, true, false, Ok(false)),
            (TtyChoice::Auto, false, true, Ok(false)),
            (TtyChoice::Force, true, false, Ok(true)),
            (TtyChoice::Force, false, true, Err(NoTerminal)),
            (TtyChoice::Never, true, true, Ok(false)),
        ] {
            assert_eq!(decide(choice, stdin, stdout), expected, "{choice:?} {stdin} {stdout}");
        }
    }
}
