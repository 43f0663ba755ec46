//! Shows progress: a bar and check marks on a terminal, plain lines elsewhere,
//! nothing when quiet. Always on stderr.

use std::collections::HashMap;
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::report::note;
use crate::machine::event::{Event, Progress};
use crate::machine::units::human_bytes;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    Quiet,
    Normal,
}

/// A receiver of events that prints them.
pub struct Printer {
    verbosity: Verbosity,
    /// `None`: stderr is no terminal.
    bars: Option<MultiProgress>,
    active: Mutex<HashMap<String, Shown>>,
}

/// What is on the screen for one piece of work.
struct Shown {
    bar: Option<ProgressBar>,
    /// Tenths already told in plain lines.
    tenths: u64,
}

impl Printer {
    pub fn new(verbosity: Verbosity) -> Self {
        let bars = stderr().is_terminal().then(MultiProgress::new);
        Self { verbosity, bars, active: Mutex::default() }
    }

    fn line(&self, text: &str) {
        let safe: String =
            text.chars().filter(|c| !c.is_control() || "\n\t".contains(*c)).collect();
        match &self.bars {
            Some(bars) => drop(bars.println(safe)),
            None => note(&safe),
        }
    }

    fn bytes(&self, what: &str, done: u64, total: Option<u64>) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = active.entry(what.to_owned()).or_insert_with(|| self.begin(what, total));
        let finished = total.is_some_and(|total| done >= total);
        if let Some(bar) = &shown.bar {
            bar.set_length(total.unwrap_or(done));
            bar.set_position(done);
            if finished {
                bar.finish_and_clear();
                self.line(&format!("{what}: {}", human_bytes(done)));
            }
        } else if let Some(total) = total.filter(|total| *total > 0) {
            let tenths = done.saturating_mul(10) / total;
            if tenths > shown.tenths {
                shown.tenths = tenths;
                self.line(&format!("{what}: {}0 % of {}", tenths, human_bytes(total)));
            }
        }
        if finished {
            active.remove(what);
        }
    }

    fn begin(&self, what: &str, total: Option<u64>) -> Shown {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(total.unwrap_or(0)).with_message(what.to_owned()));
            let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Shown { bar, tenths: 0 }
    }
}

impl Progress for Printer {
    fn event(&self, event: &Event) {
        if self.verbosity == Verbosity::Quiet && !matches!(event, Event::Warning { .. }) {
            return;
        }
        match event {
            Event::Bytes { what, done, total } => self.bytes(what, *done, *total),
            Event::Step { text } | Event::Note { text } => self.line(text),
            Event::Warning { text } => self.line(&format!("Warning: {text}")),
            Event::Check { index, of, name, state } => {
                self.line(&format!("[{index}/{of}] {name}: {}", state.word()));
            }
            // The verbs say in their own words what was reached.
            Event::State { .. } => {}
        }
    }
}
