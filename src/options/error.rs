//! What was typed wrong, in util-linux's words.

use crate::namespace::listing::NoFilter;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Options that have no meaning.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    #[error("options --monotonic and --boottime require unsharing of a time namespace (-T)")]
    OffsetsWithoutTime,
    #[error("unsupported --setgroups argument '{0}'")]
    SetGroups(String),
    #[error("unsupported propagation mode: {0}")]
    Propagation(String),
    #[error("unknown signal: {0}")]
    Signal(String),
    #[error("invalid mapping '{0}'")]
    Mapping(String),
    #[error("failed to parse {what}: '{text}'")]
    Number { what: &'static str, text: String },
    #[error("invalid {option} \"{text}\": {must}")]
    Limit { option: &'static str, text: String, must: &'static str },
    #[error("invalid --network \"{0}\": it must be none, host or nat")]
    Network(String),
    #[error("failed to parse owner")]
    Owner,
    #[error("mutually exclusive arguments: {0}")]
    Exclusive(&'static str),
    #[error("unknown namespace type: {0}")]
    Kind(String),
    #[error("unknown tree type: {0}")]
    Tree(String),
    #[error("unknown column: {0}")]
    Column(String),
    #[error("invalid PID argument: '{0}'")]
    Task(String),
    #[error("invalid namespace argument: '{0}'")]
    Namespace(String),
    #[error("--task is mutually exclusive with <namespace>")]
    TaskAndNamespace,
    #[error("failed to parse \"{text}\": {source}")]
    Filter { text: String, source: NoFilter },
}

/// A parse error in the words of getopt, as `unshare: ` and its relatives
/// print it; `verb` is the command to ask for help.
pub fn getopt_wording(error: &clap::Error, verb: &str) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let name = argument.split([' ', '=', '[']).next().unwrap_or_default();
    let what = match (error.kind(), name.strip_prefix("--")) {
        (ErrorKind::UnknownArgument, Some(_)) => format!("unrecognized option '{name}'"),
        (ErrorKind::UnknownArgument, None) => {
            format!("invalid option -- '{}'", name.trim_start_matches('-'))
        }
        (ErrorKind::InvalidValue, _) if context(ContextKind::InvalidValue) == Some("") => {
            format!("option '{name}' requires an argument")
        }
        (ErrorKind::TooManyValues, _) => format!("option '{name}' doesn't allow an argument"),
        _ => first_line(error),
    };
    format!("{what}\nTry '{verb} --help' for more information.")
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::getopt_wording;
    use crate::options::UnshareOptions;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: UnshareOptions,
    }

    #[test]
    fn parse_errors_read_as_those_of_getopt() {
        for (option, expected) in [
            ("--bogus", "unrecognized option '--bogus'"),
            ("-Z", "invalid option -- 'Z'"),
            ("--root", "option '--root' requires an argument"),
            ("--fork=x", "option '--fork' doesn't allow an argument"),
        ] {
            let error = Cli::try_parse_from(["unshare", option]).unwrap_err();
            let text = getopt_wording(&error, "nsvm unshare");
            assert_eq!(text.lines().next(), Some(expected), "{error}");
        }
    }
}
