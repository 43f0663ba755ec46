//! The options of nsenter(1).

use std::ffi::{OsStr, OsString};

use super::values::number;
use super::{KindFiles, OptionError, bytes};
use crate::namespace::enter::{EnterSpec, Id, Place};

/// Each option alone; [`NsenterOptions::spec`] says what they mean together.
/// An empty file or directory is the target's own.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct NsenterOptions {
    /// Enter all namespaces of the target
    #[arg(short, long)]
    all: bool,
    /// The process whose namespaces are entered
    #[arg(short, long, value_name = "PID", allow_hyphen_values = true)]
    target: Option<String>,
    #[command(flatten)]
    kinds: KindFiles,
    /// Enter the network namespace of a socket of the target
    #[arg(short = 'N', long, value_name = "FD", allow_hyphen_values = true)]
    net_socket: Option<String>,
    /// Enter the parent of the user namespace
    #[arg(long)]
    user_parent: bool,
    /// Set the user id inside, or take the target's
    #[arg(short = 'S', long, value_name = "UID|follow", allow_hyphen_values = true)]
    setuid: Option<String>,
    /// Set the group id inside, or take the target's
    #[arg(short = 'G', long, value_name = "GID|follow", allow_hyphen_values = true)]
    setgid: Option<String>,
    /// Leave user and group ids alone
    #[arg(long)]
    preserve_credentials: bool,
    /// Keep the capabilities granted in the user namespace
    #[arg(long)]
    keep_caps: bool,
    /// Set the root directory to the target's, or to DIR
    #[arg(short, long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    root: Option<OsString>,
    /// Change the working directory to the target's, or to DIR
    #[arg(short, long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    wd: Option<OsString>,
    /// Change the working directory to DIR inside
    #[arg(short = 'W', long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    wdns: Option<OsString>,
    /// Take the target's environment variables
    #[arg(short, long)]
    env: bool,
    /// Do not fork before running PROGRAM
    #[arg(short = 'F', long)]
    no_fork: bool,
    /// Join the cgroup of the target
    #[arg(short = 'c', long)]
    join_cgroup: bool,
    /// Take the SELinux context of the target
    #[arg(short = 'Z', long)]
    follow_context: bool,
}

impl NsenterOptions {
    /// What is entered, and as whom.
    pub fn spec(&self) -> Result<EnterSpec, OptionError> {
        if self.wd.is_some() && self.wdns.is_some() {
            return Err(OptionError::Exclusive("--wdns --wd"));
        }
        let target: Option<u32> = number(self.target.as_deref(), "pid")?;
        Ok(EnterSpec {
            // Of no process, as in nsenter(1).
            target: target.filter(|pid| *pid != 0),
            all: self.all,
            kinds: self.kinds.bare(),
            files: self.kinds.files(),
            net_socket: number(self.net_socket.as_deref(), "file descriptor")?,
            user_parent: self.user_parent,
            setuid: id(self.setuid.as_deref(), "uid")?,
            setgid: id(self.setgid.as_deref(), "gid")?,
            preserve_credentials: self.preserve_credentials,
            keep_caps: self.keep_caps,
            root: self.root.as_deref().map(place),
            wd: self.wd.as_deref().map(place),
            wdns: self.wdns.as_deref().filter(|dir| !dir.is_empty()).map(bytes),
            env: self.env,
            no_fork: self.no_fork,
            join_cgroup: self.join_cgroup,
            follow_context: self.follow_context,
            ..EnterSpec::default()
        })
    }
}

fn place(path: &OsStr) -> Place {
    if path.is_empty() { Place::Target } else { Place::Path(bytes(path)) }
}

fn id(text: Option<&str>, what: &'static str) -> Result<Option<Id>, OptionError> {
    match text {
        Some("follow") => Ok(Some(Id::Follow)),
        text => Ok(number(text, what)?.map(Id::Number)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::getopt_form;
    use super::*;
    use crate::namespace::enter::KindFile;
    use crate::namespace::kind::Kind;

    #[derive(Debug, Parser)]
    #[command(infer_long_args = true, args_override_self = true)]
    struct Cli {
        #[command(flatten)]
        args: NsenterOptions,
        #[arg(trailing_var_arg = true)]
        command: Vec<String>,
    }

    fn parse(args: &str) -> Cli {
        let all = ["nsvm", "nsenter"].into_iter().chain(args.split(' ')).map(Into::into);
        let form = getopt_form(all.collect());
        Cli::try_parse_from(&form[1..]).unwrap()
    }

    fn spec(args: &str) -> EnterSpec {
        parse(args).args.spec().unwrap()
    }

    fn kinds(args: &str) -> Vec<&'static str> {
        spec(args).kinds.iter().map(Kind::option).collect()
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn kinds_are_the_targets_or_a_files() {
        let all = ["mount", "uts", "ipc", "net", "pid", "user", "cgroup", "time"];
        assert_eq!(kinds("-t 1 -m -u -i -n -p -U -C -T"), all);
        let long = "--target 1 --mount --uts --ipc --net --pid --user --cgroup --time";
        assert_eq!(kinds(long), all);
        for args in ["--net=/run/n", "-n/run/n", "-n=/run/n", "-an/run/n"] {
            let spec = spec(args);
            let path = bytes("/run/n".as_ref());
            assert_eq!(spec.files, [KindFile { kind: Kind::Net, path }], "{args}");
            assert!(spec.kinds.is_empty());
        }
    }

    #[test]
    fn places_and_ids_have_two_forms() {
        let spec = spec("-t5 -r -w/tmp -S follow -G 7 -eFc prog -x");
        assert_eq!(spec.target, Some(5));
        assert_eq!((spec.root, spec.setuid), (Some(Place::Target), Some(Id::Follow)));
        assert_eq!(spec.wd, Some(Place::Path(bytes("/tmp".as_ref()))));
        assert_eq!(spec.setgid, Some(Id::Number(7)));
        assert!(spec.env && spec.no_fork && spec.join_cgroup);
        assert_eq!(parse("-t 5 -r prog -x").command, ["prog", "-x"]);
    }

    #[test]
    fn refusals_are_worded_as_by_util_linux() {
        for (args, text) in [
            ("-t x", "failed to parse pid: 'x'"),
            ("-S x", "failed to parse uid: 'x'"),
            ("-N x", "failed to parse file descriptor: 'x'"),
            ("-w -W/x", "mutually exclusive arguments: --wdns --wd"),
        ] {
            assert_eq!(parse(args).args.spec().unwrap_err().to_string(), text);
        }
    }
}
