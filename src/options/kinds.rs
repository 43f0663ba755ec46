//! The options that name the eight kinds, made from the table of kinds.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::bytes;
use crate::namespace::enter::KindFile;
use crate::namespace::kind::{Kind, Kinds};

/// `-m`, `--mount[=FILE]` and so on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindFiles(
    /// The last of each kind, in the order of [`Kind::ALL`]; an empty file
    /// stands for none.
    Vec<(Kind, OsString)>,
);

/// The same without files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindFlags(pub Kinds);

impl KindFiles {
    /// All that were named.
    pub fn kinds(&self) -> Kinds {
        self.0.iter().map(|(kind, _)| *kind).collect()
    }

    /// Those without a file.
    pub fn bare(&self) -> Kinds {
        self.0.iter().filter(|(_, file)| file.is_empty()).map(|(kind, _)| *kind).collect()
    }

    /// Those with one.
    pub fn files(&self) -> Vec<KindFile> {
        let named = self.0.iter().filter(|(_, file)| !file.is_empty());
        named.map(|(kind, file)| KindFile { kind: *kind, path: bytes(file) }).collect()
    }

    fn read(matches: &ArgMatches) -> Self {
        let file = |kind: Kind| Some((kind, matches.get_one::<OsString>(kind.option())?.clone()));
        Self(Kind::ALL.into_iter().filter_map(file).collect())
    }
}

impl KindFlags {
    fn read(matches: &ArgMatches) -> Self {
        Self(Kind::ALL.into_iter().filter(|kind| matches.get_flag(kind.option())).collect())
    }
}

fn arg(kind: Kind) -> Arg {
    let name = match kind {
        Kind::Uts | Kind::Ipc | Kind::Pid => kind.option().to_uppercase(),
        Kind::Net => "Network".to_owned(),
        _ => {
            let (first, rest) = kind.option().split_at(1);
            first.to_uppercase() + rest
        }
    };
    let help = format!("{name} namespace: {}", kind.isolates());
    Arg::new(kind.option()).short(kind.short_option()).long(kind.option()).help(help)
}

impl Args for KindFiles {
    fn augment_args(cmd: Command) -> Command {
        let with_file = |kind| {
            let arg = arg(kind).value_name("FILE").num_args(0..=1).require_equals(true);
            arg.default_missing_value("").value_parser(value_parser!(OsString))
        };
        cmd.args(Kind::ALL.into_iter().map(with_file))
    }

    fn augment_args_for_update(cmd: Command) -> Command {
        Self::augment_args(cmd)
    }
}

impl FromArgMatches for KindFiles {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::read(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::read(matches);
        Ok(())
    }
}

impl Args for KindFlags {
    fn augment_args(cmd: Command) -> Command {
        cmd.args(Kind::ALL.into_iter().map(|kind| arg(kind).action(ArgAction::SetTrue)))
    }

    fn augment_args_for_update(cmd: Command) -> Command {
        Self::augment_args(cmd)
    }
}

impl FromArgMatches for KindFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::read(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::read(matches);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(args_override_self = true)]
    struct Files {
        #[command(flatten)]
        kinds: KindFiles,
    }

    #[derive(Debug, Parser)]
    #[command(args_override_self = true)]
    struct Flags {
        #[command(flatten)]
        kinds: KindFlags,
    }

    #[test]
    fn the_last_of_a_kind_counts_and_an_empty_file_is_none() {
        let line = ["x", "-m=/a", "--net", "-mp", "--user=/u", "-i=/i", "-i=/j"];
        let kinds = Files::try_parse_from(line).unwrap().kinds;
        let all = [Kind::Mount, Kind::Ipc, Kind::Net, Kind::Pid, Kind::User];
        assert_eq!(kinds.kinds(), all.into_iter().collect());
        assert_eq!(kinds.bare(), [Kind::Mount, Kind::Net, Kind::Pid].into_iter().collect());
        let file = |kind, path: &str| KindFile { kind, path: bytes(path.as_ref()) };
        assert_eq!(kinds.files(), [file(Kind::Ipc, "/j"), file(Kind::User, "/u")]);
    }

    #[test]
    fn flags_take_no_file() {
        let kinds = Flags::try_parse_from(["x", "-muTT", "--cgroup"]).unwrap().kinds;
        let all = [Kind::Mount, Kind::Uts, Kind::Time, Kind::Cgroup];
        assert_eq!(kinds.0, all.into_iter().collect());
        assert!(Flags::try_parse_from(["x", "--net=/n"]).is_err());
    }
}
