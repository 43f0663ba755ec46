//! Linux and macOS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::app::session::Sender;
use crate::app::terminal::{self, RawMode};
use crate::protocol::message::FromHost;
use crate::protocol::signal;

/// Without a terminal: signals go to the program, which may end by them, or end
/// this process while the program is `away`.
/// With a raw one: keys never become signals here, so what comes is meant for
/// this process; it restores the terminal and ends, and the agent hangs up.
pub fn forward(
    sender: &Sender,
    away: Arc<AtomicBool>,
    raw: Option<&RawMode>,
) -> std::io::Result<()> {
    let sender = sender.clone();
    match raw {
        None => start(&[SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2], move |number| {
            if away.load(Ordering::Relaxed) {
                let _ = emulate_default_handler(number);
            } else if let Some(number) = in_linux(number) {
                // Without a connection the main thread says so.
                let _ = sender.send(&FromHost::Signal(number));
            }
        }),
        Some(_) => {
            start(
                &[SIGWINCH, SIGTSTP, SIGINT, SIGTERM, SIGHUP, SIGQUIT],
                move |number| match number {
                    SIGWINCH => resize(&sender),
                    SIGTSTP => pause(&sender),
                    deadly => {
                        terminal::leave_raw_mode();
                        let _ = emulate_default_handler(deadly);
                    }
                },
            )
        }
    }
}

fn start(signals: &[i32], mut act: impl FnMut(i32) + Send + 'static) -> std::io::Result<()> {
    let mut signals = Signals::new(signals)?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for number in &mut signals {
            act(number);
        }
    })?;
    Ok(())
}

fn resize(sender: &Sender) {
    let _ = sender.send(&FromHost::Resize(terminal::size()));
}

/// Stopped by another process: the shell gets a sane terminal, and after
/// `fg` it is raw again.
fn pause(sender: &Sender) {
    terminal::leave_raw_mode();
    let _ = emulate_default_handler(SIGTSTP);
    let _ = crossterm::terminal::enable_raw_mode();
    resize(sender);
}

/// The guest's number: USR1 and USR2 differ on macOS.
const fn in_linux(number: i32) -> Option<u8> {
    match number {
        SIGHUP => Some(signal::HUP),
        SIGINT => Some(signal::INT),
        SIGQUIT => Some(signal::QUIT),
        SIGTERM => Some(signal::TERM),
        SIGUSR1 => Some(signal::USR1),
        SIGUSR2 => Some(signal::USR2),
        _ => None,
    }
}
