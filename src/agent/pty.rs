//! Pseudo-terminals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Gid, Uid, fchown};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{InputModes, OptionalActions, Winsize};
use rustix::termios::{tcgetattr, tcsetattr, tcsetwinsize};

use crate::protocol::request::Size;

/// Both ends of a terminal.
pub struct Pty {
    /// The agent's end.
    pub master: OwnedFd,
    /// The program's end.
    pub terminal: OwnedFd,
}

/// Opens a terminal of `size` that belongs to the user `uid`.
pub fn open(size: Size, uid: u32) -> io::Result<Pty> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let terminal = ioctl_tiocgptpeer(&master, flags)?;
    resize(&master, size)?;
    // Else erasing a character of several bytes erases one byte.
    let mut modes = tcgetattr(&terminal)?;
    modes.input_modes |= InputModes::IUTF8;
    tcsetattr(&terminal, OptionalActions::Now, &modes)?;
    // Programs open it by name (/dev/pts/N), as the user. Who is not root can
    // become nobody else, and owns it.
    if rustix::process::geteuid().is_root() {
        fchown(&terminal, Some(Uid::from_raw(uid)), None::<Gid>)?;
    }
    Ok(Pty { master, terminal })
}

/// Tells the programs in the terminal that it has a new size.
pub fn resize(master: impl AsFd, size: Size) -> io::Result<()> {
    let Size { rows, cols, xpixel, ypixel } = size;
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: xpixel, ws_ypixel: ypixel };
    Ok(tcsetwinsize(master, size)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::termios::tcgetwinsize;

    #[test]
    fn a_terminal_has_the_size_it_was_given() {
        let uid = rustix::process::getuid().as_raw();
        let pty = open(Size { rows: 33, cols: 99, ..Size::default() }, uid).unwrap();
        assert_eq!(tcgetwinsize(&pty.terminal).unwrap().ws_col, 99);
        resize(&pty.master, Size { rows: 5, cols: 7, ..Size::default() }).unwrap();
        assert_eq!(tcgetwinsize(&pty.terminal).unwrap().ws_row, 5);
    }
}
