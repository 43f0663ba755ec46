//! `nsvm ns create`

use super::super::identity::IdentityArgs;
use super::{ask, code, told};
use crate::app::named;
use crate::cli::environment::{self, Target};
use crate::namespace::explain::render;
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::named::{HostnameError, Name, NamedSpec, hostname};
use crate::namespace::spec::{MapTarget, NamespaceSpec};
use crate::options::{CreateOptions, KindFlags, LimitOptions, OptionError};
use crate::protocol::request::{Bytes, NamedVerb};

/// Make namespaces under a name
///
/// Without an option that names a kind, all eight are made, with a proc of
/// their own, and the user is root in them.
#[derive(Debug, Clone, clap::Args)]
#[command(
    override_usage = "nsvm ns create [OPTIONS] NAME",
    after_help = "Examples:\n  nsvm ns create web\n  \
        nsvm ns create lab --user --map-root-user --net --hostname lab",
    args_override_self = true
)]
pub struct CreateArgs {
    #[command(flatten)]
    kinds: KindFlags,
    #[command(flatten)]
    options: CreateOptions,
    /// The host name inside (implies --uts)
    #[arg(long, value_name = "NAME", value_parser = hostname_option)]
    hostname: Option<String>,
    #[command(flatten)]
    limits: LimitOptions,
    /// Say step by step what would happen, and make nothing
    #[arg(long, help_heading = "Machine")]
    explain: bool,
    #[command(flatten)]
    identity: IdentityArgs,
    /// The name: letters, digits, `_`, `.` and `-`, at most 64
    #[arg(value_name = "NAME")]
    name: Name,
}

fn hostname_option(text: &str) -> Result<String, HostnameError> {
    hostname(text)
}

pub fn run(target: &Target, args: &CreateArgs) -> anyhow::Result<u8> {
    let spec = Box::new(NamedSpec {
        name: args.name.clone(),
        namespaces: args.spec()?,
        limits: args.limits.resolve()?,
    });
    if args.explain {
        return explain(target, args, spec);
    }
    let made = ask(target, &args.identity, NamedVerb::Create(spec))?;
    for named in made.iter().flatten() {
        outln!("{}", named.name);
    }
    Ok(code(made.is_some()))
}

fn explain(target: &Target, args: &CreateArgs, spec: Box<NamedSpec>) -> anyhow::Result<u8> {
    let user = args.identity.resolve()?;
    let place = environment::place(target)?;
    let plan = told(named::explain(&place, user.as_ref(), NamedVerb::Explain(spec))?);
    if let Some(plan) = &plan {
        out!("{}", render(&plan.steps, &plan.program));
    }
    Ok(code(plan.is_some()))
}

impl CreateArgs {
    /// What was typed, and what it implies.
    fn spec(&self) -> Result<NamespaceSpec, OptionError> {
        let all = self.kinds.0.is_empty();
        let all_kinds = Kind::ALL.into_iter();
        let wanted = |kind: &Kind| *kind != Kind::Net || !self.options.is_network_host();
        let asked = if all { all_kinds.filter(wanted).collect() } else { self.kinds.0 };
        let uts = if self.hostname.is_some() { Kinds::NONE.with(Kind::Uts) } else { Kinds::NONE };
        let spec = self.options.spec(asked.union(uts))?;
        let spec = NamespaceSpec { hostname: self.hostname.clone(), ..spec };
        Ok(if all { with_defaults(spec) } else { spec })
    }
}

/// Where nothing is said about ids, the user is root; proc shows the new PID
/// namespace.
fn with_defaults(mut spec: NamespaceSpec) -> NamespaceSpec {
    let NamespaceSpec { map_user, map_group, map_users, map_groups, .. } = &spec;
    if map_user.is_none() && map_group.is_none() && map_users.is_empty() && map_groups.is_empty() {
        spec.map_user = Some(MapTarget::Id(0));
        spec.map_group = Some(MapTarget::Id(0));
    }
    spec.mount_proc.get_or_insert_with(|| Bytes::from(b"/proc".to_vec()));
    spec
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn spec(line: &str) -> NamespaceSpec {
        let words = ["create", "x"].into_iter().chain(line.split_whitespace());
        Cli::try_parse_from(words).unwrap().args.spec().unwrap()
    }

    #[test]
    fn without_kinds_all_are_made_and_the_user_is_root() {
        let whole = spec("");
        assert_eq!(whole.kinds, Kind::ALL.into_iter().collect());
        assert_eq!((whole.map_user, whole.map_group), (ROOT, ROOT));
        assert_eq!(whole.mount_proc.unwrap(), b"/proc");
        let mapped = spec("--map-current-user --hostname a.b --boottime 5");
        assert_eq!(mapped.map_user, Some(MapTarget::Current));
        assert_eq!((mapped.hostname.as_deref(), mapped.boottime), (Some("a.b"), Some(5)));
        assert_eq!(mapped.kinds.iter().count(), 8);
    }

    #[test]
    fn the_machines_network_leaves_the_other_kinds() {
        assert_eq!(spec("--network host").kinds.iter().count(), 7);
        assert_eq!(spec("--network nat").kinds.iter().count(), 8);
        assert_eq!(spec("--uts --network none").kinds, kinds(&[Kind::Uts, Kind::Net]));
    }

    const ROOT: Option<MapTarget> = Some(MapTarget::Id(0));

    #[test]
    fn kinds_that_are_named_are_all_but_for_what_is_implied() {
        let net = spec("--net");
        assert_eq!(net, NamespaceSpec { kinds: kinds(&[Kind::Net]), ..NamespaceSpec::default() });
        let both = spec("-n --hostname x -r");
        assert_eq!(both.kinds, kinds(&[Kind::Net, Kind::Uts, Kind::User]));
        assert_eq!((both.map_user, both.mount_proc), (ROOT, None));
    }

    fn kinds(all: &[Kind]) -> Kinds {
        all.iter().copied().collect()
    }

    #[test]
    fn names_are_checked_before_a_machine_is_asked() {
        for line in [&["create", "../x"][..], &["create", "x", "--hostname", "a b"], &["create"]] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
