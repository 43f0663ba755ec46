//! `nsvm run`: a program on a root file system of its own, in all eight kinds
//! of namespaces.

use std::ffi::OsString;
use std::path::Path;

use super::environment::EnvironmentArgs;
use super::identity::IdentityArgs;
use super::tty::TtyArgs;
use super::{Host, UsageError, bytes};
use crate::namespace::network::Mode;
use crate::namespace::run::{RootFs, RunSpec, is_name};
use crate::options::{LimitOptions, OptionError};
use crate::protocol::request::ExecRequest;

/// Run a program on a root file system of its own
///
/// It gets namespaces of all eight kinds, the machine's user is root in them,
/// and the program is process 1. What it changes is forgotten at its end, or
/// kept under a --name. Without --rootfs it sees the machine's own files.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    override_usage = "nsvm run [OPTIONS] [PROGRAM [ARG]...]",
    after_help = "Example:\n  nsvm run --hostname box sh -c 'hostname; rm -rf /usr'",
    args_override_self = true
)]
pub struct RunArgs {
    /// The root file system: a tar (also .gz, .xz, .zst) or a directory of this
    /// host, or guest:/DIR of the machine
    #[arg(long, value_name = "DIR|FILE")]
    pub rootfs: Option<OsString>,
    /// Keep what the program changes, for the next run of this name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Keep standard input open, which is always so
    #[arg(short, long)]
    pub interactive: bool,
    #[command(flatten)]
    tty: TtyArgs,
    /// The name of the system inside [default: NAME, or nsvm]
    #[arg(long, value_name = "NAME", value_parser = crate::namespace::named::hostname)]
    pub hostname: Option<String>,
    /// Start in this directory inside
    #[arg(short, long, value_name = "DIR", default_value = "/")]
    pub workdir: OsString,
    /// The network: none (only lo), host (the machine's), or nat (a way out
    /// through the machine)
    #[arg(long, value_name = "none|host|nat", default_value = "none")]
    pub network: String,
    /// Let no file of the root be changed
    #[arg(long)]
    pub read_only: bool,
    /// Keep all capabilities of the user namespace, and hide nothing of /proc
    #[arg(long)]
    pub privileged: bool,
    /// Say step by step what would happen, and run nothing
    #[arg(long, help_heading = "Machine")]
    pub explain: bool,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub limits: LimitOptions,
    #[command(flatten)]
    pub environment: EnvironmentArgs,
    /// The program and its arguments [default: /bin/sh]
    #[arg(value_name = "PROGRAM", trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

impl RunArgs {
    /// What was typed, as a request.
    pub fn resolve(&self, host: &Host<'_>) -> Result<ExecRequest, UsageError> {
        Ok(ExecRequest {
            argv: self.command.iter().map(|arg| bytes(arg)).collect(),
            env: self.environment.resolve(host)?,
            cwd: Some(bytes(&self.workdir)),
            user: self.identity.resolve()?,
            tty: (host.terminal)(self.tty.choice())?,
            limits: self.limits.resolve()?,
            run: Some(Box::new(self.spec()?)),
            ..ExecRequest::default()
        })
    }

    fn spec(&self) -> Result<RunSpec, UsageError> {
        let named = self.name.as_deref().filter(|name| !is_name(name));
        if let Some(name) = named {
            return Err(UsageError::RunName(name.to_owned()));
        }
        Ok(RunSpec {
            root: self.root()?,
            name: self.name.clone(),
            hostname: self.hostname.clone(),
            network: Mode::named(&self.network)
                .ok_or_else(|| OptionError::Network(self.network.clone()))?,
            privileged: self.privileged,
            read_only: self.read_only,
        })
    }

    fn root(&self) -> Result<RootFs, UsageError> {
        let Some(dir) = self.in_guest() else { return Ok(RootFs::Guest) };
        if dir.starts_with(b"/") {
            return Ok(RootFs::Directory(dir.to_vec().into()));
        }
        Err(UsageError::RootFs(String::from_utf8_lossy(dir).into_owned()))
    }

    /// The directory of the machine that was named.
    fn in_guest(&self) -> Option<&[u8]> {
        self.rootfs.as_ref()?.as_encoded_bytes().strip_prefix(b"guest:")
    }

    /// The root file system that this host has, if that was named.
    pub fn on_host(&self) -> Option<&Path> {
        let path = self.rootfs.as_deref().filter(|_| self.in_guest().is_none())?;
        Some(Path::new(path))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: RunArgs,
    }

    fn resolve(line: &str) -> Result<ExecRequest, UsageError> {
        let host = Host { env: &|_| None, read: &|_| Ok(vec![]), terminal: &|_| Ok(None) };
        let words = std::iter::once("run").chain(line.split_whitespace());
        Cli::try_parse_from(words).unwrap().args.resolve(&host)
    }

    fn spec(line: &str) -> RunSpec {
        *resolve(line).unwrap().run.unwrap()
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_and_options_become_a_spec() {
        assert_eq!(spec("true"), RunSpec::default());
        let spec = spec("--name web --hostname h --network host --privileged --read-only true");
        assert_eq!(spec.name.as_deref(), Some("web"));
        assert_eq!(spec.network, Mode::Host);
        assert!(spec.privileged && spec.read_only);
        assert_eq!(self::spec("--network nat sh").network, Mode::Nat);
        let dir = RootFs::Directory(b"/srv/x".to_vec().into());
        assert_eq!(self::spec("--rootfs guest:/srv/x sh").root, dir);
    }

    #[test]
    fn options_end_at_the_program() {
        let request = resolve("-i -w /x ls -t -w").unwrap();
        assert_eq!(request.argv, ["ls", "-t", "-w"]);
        assert_eq!(request.cwd.unwrap(), "/x");
    }

    #[test]
    fn refusals_name_what_was_typed() {
        for (line, text) in [
            ("--name a/b x", "invalid name 'a/b'"),
            ("--network bridge x", "invalid --network \"bridge\": it must be none, host or nat"),
            ("--rootfs guest:x x", "'guest:x'"),
        ] {
            let error = resolve(line).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
