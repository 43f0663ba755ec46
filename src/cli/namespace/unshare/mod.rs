//! `nsvm unshare`: the options of unshare(1), as typed.

mod options;
mod values;

use clap::ArgMatches;

pub use options::UnshareOptions;
use values::{map_target, parse_owner, parse_propagation, parse_setgroups, parse_signal};

pub use values::number;

use super::{Host, UsageError, bytes};
use crate::app::terminal::TtyChoice;
use crate::namespace::kind::Kind;
use crate::namespace::spec::{MapTarget, NamespaceSpec};
use crate::protocol::request::ExecRequest;

/// The options in the order that matters, and the program.
#[derive(Debug, Clone, Default)]
pub struct UnshareArgs {
    pub options: UnshareOptions,
    /// The last place of each option that maps the caller's own ids: of
    /// several, the last one counts.
    order: Vec<OwnMap>,
}

/// An option that says what the caller's own ids become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnMap {
    Root,
    Current,
    User,
    Group,
}

impl clap::Args for UnshareArgs {
    fn augment_args(cmd: clap::Command) -> clap::Command {
        UnshareOptions::augment_args(cmd)
    }

    fn augment_args_for_update(cmd: clap::Command) -> clap::Command {
        UnshareOptions::augment_args_for_update(cmd)
    }
}

impl clap::FromArgMatches for UnshareArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let options = UnshareOptions::from_arg_matches(matches)?;
        Ok(Self { options, order: order_of(matches) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.options.update_from_arg_matches(matches)?;
        self.order = order_of(matches);
        Ok(())
    }
}

fn order_of(matches: &ArgMatches) -> Vec<OwnMap> {
    let mut places: Vec<(usize, OwnMap)> = [
        ("map_root_user", OwnMap::Root),
        ("map_current_user", OwnMap::Current),
        ("map_user", OwnMap::User),
        ("map_group", OwnMap::Group),
    ]
    .into_iter()
    .filter(|(id, _)| matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine))
    .filter_map(|(id, map)| Some((matches.indices_of(id)?.max()?, map)))
    .collect();
    places.sort_by_key(|(place, _)| *place);
    places.into_iter().map(|(_, map)| map).collect()
}

impl UnshareArgs {
    /// What was typed, as a request.
    pub fn resolve(&self, host: &Host<'_>) -> Result<ExecRequest, UsageError> {
        let options = &self.options;
        Ok(ExecRequest {
            argv: options.command.iter().map(|arg| bytes(arg)).collect(),
            env: options.environment.resolve(host)?,
            cwd: None,
            user: options.identity.resolve()?,
            tty: (host.terminal)(TtyChoice::Auto)?,
            enter: None,
            namespaces: self.spec()?,
        })
    }

    /// The namespaces alone, implications included.
    pub fn spec(&self) -> Result<NamespaceSpec, UsageError> {
        let options = &self.options;
        let (map_user, map_group) = self.own_maps();
        let spec = NamespaceSpec {
            kinds: options.kinds(),
            persist: options.persist(),
            fork: options.fork || options.kill_child.is_some() || options.forward_signals,
            forward_signals: options.forward_signals,
            owner: options.owner.as_deref().map(parse_owner).transpose()?,
            kill_child: options.kill_child.as_deref().map(parse_signal).transpose()?,
            map_user,
            map_group,
            map_users: options.ranges(&options.map_users)?,
            map_groups: options.ranges(&options.map_groups)?,
            setgroups: options.setgroups.as_deref().map(parse_setgroups).transpose()?,
            propagation: options.propagation.as_deref().map(parse_propagation).transpose()?,
            mount_proc: options.proc_dir(),
            mount_binfmt: options.binfmt_dir(),
            load_interp: options.load_interp.as_deref().map(bytes),
            root: options.root.as_deref().map(bytes),
            wd: options.wd.as_deref().map(bytes),
            setuid: number(options.setuid.as_deref(), "uid")?,
            setgid: number(options.setgid.as_deref(), "gid")?,
            keep_caps: options.keep_caps,
            monotonic: number(options.monotonic.as_deref(), "monotonic offset")?,
            boottime: number(options.boottime.as_deref(), "boottime offset")?,
        };
        if (spec.monotonic.is_some() || spec.boottime.is_some()) && !spec.wants(Kind::Time) {
            return Err(UsageError::OffsetsWithoutTime);
        }
        Ok(spec)
    }

    /// What the caller's user and group become: each option overrides those
    /// before it.
    fn own_maps(&self) -> (Option<MapTarget>, Option<MapTarget>) {
        let named = |text: &Option<String>| text.as_deref().map(map_target);
        let (mut user, mut group) = (None, None);
        for map in &self.order {
            match map {
                OwnMap::Root => (user, group) = (Some(MapTarget::Id(0)), Some(MapTarget::Id(0))),
                OwnMap::Current => {
                    (user, group) = (Some(MapTarget::Current), Some(MapTarget::Current));
                }
                OwnMap::User => user = named(&self.options.map_user),
                OwnMap::Group => group = named(&self.options.map_group),
            }
        }
        (user, group)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::namespace::spec::MapRange;
    use crate::protocol::signal;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: UnshareArgs,
    }

    fn parse(args: &str) -> UnshareArgs {
        Cli::try_parse_from(std::iter::once("unshare").chain(args.split(' '))).unwrap().args
    }

    fn spec(args: &str) -> NamespaceSpec {
        parse(args).spec().unwrap()
    }

    fn refused(args: &str) -> String {
        parse(args).spec().unwrap_err().to_string()
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
    fn short_and_long_options_name_the_eight_kinds() {
        let all = ["mount", "uts", "ipc", "net", "pid", "user", "cgroup", "time"];
        assert_eq!(kinds("-m -u -i -n -p -U -C -T"), all);
        assert_eq!(kinds("-muinpUCT"), all);
        assert_eq!(kinds("--mount --uts --ipc --net --pid --user --cgroup --time"), all);
        assert_eq!(kinds("-p -p"), ["pid"]);
    }

    #[test]
    fn options_imply_what_unshare_1_says() {
        assert_eq!(kinds("--mount-proc"), ["mount"]);
        for maps in ["-r", "-c", "--map-user=1", "--map-group=1", "--map-auto", "--map-users=all"] {
            assert_eq!(kinds(maps), ["user"], "{maps}");
        }
        assert!(spec("--kill-child").fork);
        assert_eq!(spec("--kill-child").kill_child, Some(signal::KILL));
        assert_eq!(spec("--kill-child=SIGTERM").kill_child, Some(signal::TERM));
        assert_eq!(spec("--mount-proc=/x").mount_proc.unwrap(), "/x");
    }

    #[test]
    fn of_several_maps_the_last_one_counts() {
        let own = |args| {
            let spec = spec(args);
            (spec.map_user, spec.map_group)
        };
        let id = |number| Some(MapTarget::Id(number));
        assert_eq!(own("-r --map-user=5"), (id(5), id(0)));
        assert_eq!(own("--map-user=5 -r"), (id(0), id(0)));
        assert_eq!(own("-r -c"), (Some(MapTarget::Current), Some(MapTarget::Current)));
        assert_eq!(own("-r -c -r"), (id(0), id(0)));
        assert_eq!(own("--map-group nobody"), (None, Some(MapTarget::Name("nobody".into()))));
        assert_eq!(own("--fork"), (None, None));
    }

    #[test]
    fn ranges_are_read_in_both_spellings() {
        let range = MapRange::Range { inner: 0, outer: 100_000, count: 10 };
        assert_eq!(spec("--map-users 0:100000:10").map_users, [range]);
        assert_eq!(spec("--map-groups 100000,0,10").map_groups, [range]);
        assert_eq!(spec("--map-auto").map_groups, [MapRange::Auto]);
        assert_eq!(spec("--map-users all --map-users auto").map_users.len(), 2);
        assert_eq!(refused("--map-users 1:2"), "invalid mapping '1:2'");
    }

    #[test]
    fn options_end_at_the_program() {
        let args = parse("-r -- -x");
        assert_eq!(args.options.command, ["-x"]);
        let args = parse("-r bash --fork -c x -- y");
        assert_eq!(args.options.command, ["bash", "--fork", "-c", "x", "--", "y"]);
        assert!(!args.options.fork);
    }

    #[test]
    fn long_options_may_be_shortened() {
        assert_eq!(kinds("--map-r"), ["user"]);
    }

    #[test]
    fn refusals_are_worded_as_by_util_linux() {
        for (args, text) in [
            (
                "--monotonic 5",
                "options --monotonic and --boottime require unsharing of a time namespace (-T)",
            ),
            ("--setgroups maybe", "unsupported --setgroups argument 'maybe'"),
            ("--propagation x", "unsupported propagation mode: x"),
            ("--kill-child=FOO", "unknown signal: FOO"),
            ("--setuid x", "failed to parse uid: 'x'"),
            ("-T --boottime 1x", "failed to parse boottime offset: '1x'"),
            ("--owner 5", "failed to parse owner"),
        ] {
            assert_eq!(refused(args), text);
        }
    }

    #[test]
    fn files_keep_namespaces() {
        let spec = spec("--net=/run/n --uts -m=/run/m");
        assert_eq!(spec.kinds.iter().count(), 3);
        let files: Vec<_> = spec.binds().into_iter().map(|file| (file.kind, file.path)).collect();
        let path = |text: &str| bytes(text.as_ref());
        assert_eq!(files, [(Kind::Net, path("/run/n")), (Kind::Mount, path("/run/m"))]);
    }

    #[test]
    fn interpreters_need_binfmt_misc_and_that_needs_proc() {
        let path = |text: &str| Some(bytes(text.as_ref()));
        let binfmt = path("/proc/sys/fs/binfmt_misc");
        for (args, proc, binfmt) in [
            ("--mount-binfmt", path("/proc"), binfmt.clone()),
            ("--mount-binfmt=/b", None, path("/b")),
            ("--mount-binfmt --mount-proc=/p", path("/p"), binfmt.clone()),
            ("-l :x:", path("/proc"), binfmt.clone()),
            ("--mount-binfmt=/b --load-interp :x:", None, path("/b")),
        ] {
            let spec = spec(args);
            assert_eq!((spec.mount_proc, spec.mount_binfmt), (proc, binfmt), "{args}");
            assert!(spec.kinds.contains(Kind::User) && spec.kinds.contains(Kind::Mount));
        }
    }

    #[test]
    fn owner_and_forwarding_imply_what_their_manual_says() {
        assert_eq!(spec("--owner 5:6").owner, Some((5, 6)));
        assert_eq!(kinds("--owner 5:6"), ["user"]);
        assert!(spec("--forward-signals").fork && spec("--forward-signals").forward_signals);
    }

    #[test]
    fn offsets_may_be_negative() {
        assert_eq!(spec("-T --monotonic -5").monotonic, Some(-5));
        assert_eq!(spec("-T --boottime=-7").boottime, Some(-7));
    }
}
