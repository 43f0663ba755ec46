//! `nsvm nsenter`: the options of nsenter(1), as typed.

mod getopt;
mod options;

pub use getopt::getopt_form;
pub use options::NsenterArgs;

use std::ffi::OsStr;

use super::unshare::number;
use super::{Host, UsageError, bytes};
use crate::app::terminal::TtyChoice;
use crate::namespace::enter::{EnterSpec, Id, KindFile, Place};
use crate::namespace::kind::{Kind, Kinds};
use crate::protocol::request::ExecRequest;

impl NsenterArgs {
    /// What was typed, as a request.
    pub fn resolve(&self, host: &Host<'_>) -> Result<ExecRequest, UsageError> {
        Ok(ExecRequest {
            argv: self.command.iter().map(|arg| bytes(arg)).collect(),
            env: self.environment.resolve(host)?,
            user: self.identity.resolve()?,
            tty: (host.terminal)(TtyChoice::Auto)?,
            enter: Some(Box::new(self.spec()?)),
            ..ExecRequest::default()
        })
    }

    /// The namespaces alone.
    pub fn spec(&self) -> Result<EnterSpec, UsageError> {
        if self.wd.is_some() && self.wdns.is_some() {
            return Err(UsageError::Exclusive("--wdns --wd"));
        }
        let target: Option<u32> = number(self.target.as_deref(), "pid")?;
        Ok(EnterSpec {
            // Of no process, as in nsenter(1).
            target: target.filter(|pid| *pid != 0),
            all: self.all,
            kinds: self.kinds(),
            files: self.files(),
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
        })
    }

    fn kinds(&self) -> Kinds {
        self.asked().filter(|(_, path)| path.is_empty()).map(|(kind, _)| kind).collect()
    }

    fn files(&self) -> Vec<KindFile> {
        let file = |(kind, path): (Kind, &OsStr)| KindFile { kind, path: bytes(path) };
        self.asked().filter(|(_, path)| !path.is_empty()).map(file).collect()
    }

    fn asked(&self) -> impl Iterator<Item = (Kind, &OsStr)> {
        let all = [
            (Kind::Mount, &self.mount),
            (Kind::Uts, &self.uts),
            (Kind::Ipc, &self.ipc),
            (Kind::Net, &self.net),
            (Kind::Pid, &self.pid),
            (Kind::User, &self.user),
            (Kind::Cgroup, &self.cgroup),
            (Kind::Time, &self.time),
        ];
        all.into_iter().filter_map(|(kind, file)| Some((kind, file.as_deref()?)))
    }
}

fn place(path: &OsStr) -> Place {
    if path.is_empty() { Place::Target } else { Place::Path(bytes(path)) }
}

fn id(text: Option<&str>, what: &'static str) -> Result<Option<Id>, UsageError> {
    match text {
        Some("follow") => Ok(Some(Id::Follow)),
        text => Ok(number(text, what)?.map(Id::Number)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: NsenterArgs,
    }

    fn parse(args: &str) -> NsenterArgs {
        let all = ["nsvm", "nsenter"].into_iter().chain(args.split(' ')).map(Into::into);
        let form = getopt_form(all.collect());
        Cli::try_parse_from(&form[1..]).unwrap().args
    }

    fn spec(args: &str) -> EnterSpec {
        parse(args).spec().unwrap()
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
            assert_eq!(parse(args).spec().unwrap_err().to_string(), text);
        }
    }
}
