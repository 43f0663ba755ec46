//! `nsvm machine events`

use clap::ValueEnum;

use crate::app::events::{Stamped, follow};
use crate::cli::environment;
use crate::machine::event::Event;

/// Show what happens to a machine, until Ctrl-C or until it is removed
///
/// The first event is the machine's state. It goes on over stops and starts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nsvm machine events --format json work")]
pub struct EventsArgs {
    #[command(flatten)]
    which: super::Which,
    /// How to print them: text, or json for an object a line
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    format: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

pub fn run(args: &EventsArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    follow(&context, &args.which.name(&context), |event| {
        let line = match args.format {
            Form::Json => json(event),
            Form::Text => text(event),
        };
        outln!("{line}");
    })?;
    Ok(0)
}

fn json(stamped: &Stamped) -> String {
    serde_json::to_string(stamped).expect("plain fields serialize")
}

fn text(stamped: &Stamped) -> String {
    let what = match &stamped.event {
        Event::State { state } => format!("state: {}", state.word()),
        Event::Check { index, of, name, state } => {
            format!("[{index}/{of}] {name}: {}", state.word())
        }
        Event::Bytes { what, done, total } => match total {
            Some(total) => format!("{what}: {done} of {total} bytes"),
            None => format!("{what}: {done} bytes"),
        },
        Event::Step { text } | Event::Note { text } => text.clone(),
        Event::Warning { text } => format!("Warning: {text}"),
    };
    let what: String = what.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{} {} {what}", stamped.time, stamped.machine)
}
