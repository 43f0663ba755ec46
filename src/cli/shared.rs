//! Options of every verb: colours and what is logged.

use std::ffi::OsString;

use anstream::ColorChoice;
use clap::{Args, Subcommand, ValueEnum};

use super::GROUPS;

/// How to print, and what to log.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct SharedOptions {
    /// When to use colours; auto: on terminals, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, hide_possible_values = true)]
    #[arg(help = "When to use colours: auto, always, never [default: auto]")]
    pub color: Option<Color>,
    /// Log to stderr from this level on, the supervisor to its log
    #[arg(long, value_name = "LEVEL", value_enum, hide_possible_values = true)]
    #[arg(help = "Log from this level on: trace, debug, info, warn, error")]
    pub log_level: Option<LogLevel>,
}

/// A verb with verbs that run no program, so that the shared options may stand
/// behind them, too.
#[derive(Debug, Args)]
pub struct Group<V: Subcommand> {
    #[command(flatten)]
    pub shared: SharedOptions,
    #[command(subcommand)]
    pub verb: V,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// podman's levels; those that it has and we do not are the next milder ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    #[value(alias = "warning")]
    Warn,
    #[value(alias = "fatal", alias = "panic")]
    Error,
}

impl LogLevel {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl SharedOptions {
    /// These, and those before the verb where they say nothing.
    #[must_use]
    pub fn over(self, before: Self) -> Self {
        Self { color: self.color.or(before.color), log_level: self.log_level.or(before.log_level) }
    }

    /// Logs of this program go to stderr from now on.
    pub fn log(self) {
        if let Some(level) = self.log_level {
            let filter = format!("nsvm={}", level.name());
            let logs = tracing_subscriber::fmt().with_env_filter(filter);
            logs.with_writer(std::io::stderr).init();
        }
    }
}

/// Decides about colours before the command line is understood, because help
/// and usage errors have them too. Without the option NO_COLOR, CLICOLOR_FORCE
/// and TERM decide.
pub fn choose_colors(args: &[OsString]) {
    if let Some(choice) = asked(args) {
        choice.write_global();
    }
}

fn asked(args: &[OsString]) -> Option<ColorChoice> {
    let words: Vec<_> =
        args.iter().map_while(|arg| arg.to_str()).take_while(|a| *a != "--").collect();
    let end = ours(&words);
    let at = words[..end].iter().rposition(|word| word.starts_with("--color"))?;
    let value = match words[at].split_once('=') {
        Some((_, value)) => value,
        None => words.get(at + 1)?,
    };
    Color::from_str(value, false).ok().map(|color| match color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    })
}

/// How many of the words are no option of a program to run.
fn ours(words: &[&str]) -> usize {
    let with_value =
        |word: &str| ["--color", "--log-level", "--machine", "--username"].contains(&word);
    let mut verbs = Vec::new();
    let mut at = 1;
    while at < words.len() {
        match words[at] {
            word if with_value(word) => at += 1,
            word if word.starts_with('-') => {}
            word if verbs == ["machine", "ssh"]
                || !GROUPS.contains(verbs.first().unwrap_or(&word)) =>
            {
                return at;
            }
            word => verbs.push(word),
        }
        at += 1;
    }
    words.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_asked_for_before_a_program_to_run() {
        let asked = |line: &str| {
            let args: Vec<_> = line.split(' ').map(OsString::from).collect();
            asked(&args)
        };
        assert_eq!(asked("nsvm --color never machine list"), Some(ColorChoice::Never));
        assert_eq!(asked("nsvm --color=always exec ls"), Some(ColorChoice::Always));
        assert_eq!(asked("nsvm machine list --color always"), Some(ColorChoice::Always));
        assert_eq!(asked("nsvm exec ls --color=always"), None);
        assert_eq!(asked("nsvm machine ssh -- ls --color=always"), None);
        assert_eq!(asked("nsvm machine ssh work ls --color=always"), None);
        assert_eq!(
            asked("nsvm machine ssh --color never ls --color=always"),
            Some(ColorChoice::Never)
        );
        assert_eq!(asked("nsvm --machine machine exec ls --color=always"), None);
        assert_eq!(asked("nsvm --color=always machine ls --color never"), Some(ColorChoice::Never));
        assert_eq!(asked("nsvm --color"), None);
        assert_eq!(asked("nsvm"), None);
    }
}
