//! `-t` and `-T`: whether the program gets a terminal.

use crate::app::terminal::TtyChoice;

/// Shared by the verbs that leave it to the user.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct TtyArgs {
    /// Force a terminal, even when output does not go to one
    #[arg(short, long, overrides_with = "no_tty")]
    tty: bool,
    /// Never use a terminal
    #[arg(short = 'T', long, overrides_with = "tty")]
    no_tty: bool,
}

impl TtyArgs {
    pub const fn choice(self) -> TtyChoice {
        match (self.tty, self.no_tty) {
            (true, _) => TtyChoice::Force,
            (_, true) => TtyChoice::Never,
            _ => TtyChoice::Auto,
        }
    }
}
