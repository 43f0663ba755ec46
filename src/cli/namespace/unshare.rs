//! `nsvm unshare`: the options of unshare(1), as typed.

use std::ffi::{OsStr, OsString};

use clap::ArgMatches;

use super::environment::EnvironmentArgs;
use super::identity::IdentityArgs;
use super::{Host, UsageError, bytes};
use crate::app::terminal::TtyChoice;
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::spec::{MapRange, MapTarget, NamespaceSpec, Propagation, SetGroups};
use crate::protocol::request::ExecRequest;
use crate::protocol::signal;

/// Run a program in new namespaces of the machine
///
/// Options and their meaning are those of unshare(1). Arguments arrive
/// unchanged: no shell evaluates them. Without a PROGRAM, the user's shell is
/// started.
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

#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    about = "Run a program in new namespaces of the machine",
    long_about = "Run a program in new namespaces of the machine\n\n\
        Options and their meaning are those of unshare(1). Arguments arrive\n\
        unchanged: no shell evaluates them. Without a PROGRAM, the user's shell\n\
        is started.",
    after_help = "Example:\n  nsvm unshare --user --pid --map-root-user --mount-proc --fork bash",
    infer_long_args = true,
    args_override_self = true
)]
pub struct UnshareOptions {
    /// Unshare the mount namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub mount: Option<OsString>,
    /// Unshare the UTS namespace (hostname etc)
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub uts: Option<OsString>,
    /// Unshare the System V IPC namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub ipc: Option<OsString>,
    /// Unshare the network namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub net: Option<OsString>,
    /// Unshare the PID namespace
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub pid: Option<OsString>,
    /// Unshare the user namespace
    #[arg(short = 'U', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub user: Option<OsString>,
    /// Unshare the cgroup namespace
    #[arg(short = 'C', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub cgroup: Option<OsString>,
    /// Unshare the time namespace
    #[arg(short = 'T', long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub time: Option<OsString>,

    /// Fork before running PROGRAM
    #[arg(short, long)]
    pub fork: bool,
    /// When dying, kill the forked child with SIGKILL or this signal
    /// (implies --fork)
    #[arg(long, value_name = "SIGNAL", num_args = 0..=1, require_equals = true, default_missing_value = "KILL")]
    pub kill_child: Option<String>,
    /// Mount proc first, on /proc or DIR (implies --mount)
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "/proc")]
    pub mount_proc: Option<OsString>,
    /// Mount propagation: slave, shared, private or unchanged
    #[arg(long, value_name = "MODE")]
    pub propagation: Option<String>,
    /// Run with DIR as the root directory
    #[arg(short = 'R', long, value_name = "DIR")]
    pub root: Option<OsString>,
    /// Change the working directory to DIR
    #[arg(short, long, value_name = "DIR")]
    pub wd: Option<OsString>,

    /// Map the current user to UID (implies --user)
    #[arg(long, value_name = "UID|NAME")]
    pub map_user: Option<String>,
    /// Map the current group to GID (implies --user)
    #[arg(long, value_name = "GID|NAME")]
    pub map_group: Option<String>,
    /// Map the current user to root (implies --user)
    #[arg(short = 'r', long)]
    pub map_root_user: bool,
    /// Map the current user to itself (implies --user)
    #[arg(short = 'c', long)]
    pub map_current_user: bool,
    /// Map subordinate users and groups automatically (implies --user)
    #[arg(long)]
    pub map_auto: bool,
    /// Map subordinate users and groups to themselves (implies --user)
    #[arg(long)]
    pub map_subids: bool,
    /// Map users: auto, subids, all or INNER:OUTER:COUNT (repeatable)
    #[arg(long, value_name = "RANGE", action = clap::ArgAction::Append)]
    pub map_users: Vec<String>,
    /// Map groups: auto, subids, all or INNER:OUTER:COUNT (repeatable)
    #[arg(long, value_name = "RANGE", action = clap::ArgAction::Append)]
    pub map_groups: Vec<String>,
    /// Whether setgroups(2) is allowed in the user namespace: allow or deny
    #[arg(long, value_name = "allow|deny")]
    pub setgroups: Option<String>,

    /// Set the user id in the namespace
    #[arg(short = 'S', long, value_name = "UID")]
    pub setuid: Option<String>,
    /// Set the group id in the namespace
    #[arg(short = 'G', long, value_name = "GID")]
    pub setgid: Option<String>,
    /// Keep the capabilities granted in the user namespace
    #[arg(long)]
    pub keep_caps: bool,
    /// Offset of the monotonic clock in the time namespace
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub monotonic: Option<String>,
    /// Offset of the boot time clock in the time namespace
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub boottime: Option<String>,

    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub environment: EnvironmentArgs,

    /// The program and its arguments [default: the user's shell]
    #[arg(value_name = "PROGRAM [ARG]", trailing_var_arg = true)]
    pub command: Vec<OsString>,
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
            namespaces: self.spec()?,
        })
    }

    /// The namespaces alone, implications included.
    pub fn spec(&self) -> Result<NamespaceSpec, UsageError> {
        let options = &self.options;
        let (map_user, map_group) = self.own_maps();
        let spec = NamespaceSpec {
            kinds: options.kinds()?,
            fork: options.fork || options.kill_child.is_some(),
            kill_child: options.kill_child.as_deref().map(parse_signal).transpose()?,
            map_user,
            map_group,
            map_users: options.ranges(&options.map_users)?,
            map_groups: options.ranges(&options.map_groups)?,
            setgroups: options.setgroups.as_deref().map(parse_setgroups).transpose()?,
            propagation: options.propagation.as_deref().map(parse_propagation).transpose()?,
            mount_proc: options.mount_proc.as_deref().map(bytes),
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

impl UnshareOptions {
    fn kinds(&self) -> Result<Kinds, UsageError> {
        let asked = [
            (Kind::Mount, &self.mount),
            (Kind::Uts, &self.uts),
            (Kind::Ipc, &self.ipc),
            (Kind::Net, &self.net),
            (Kind::Pid, &self.pid),
            (Kind::User, &self.user),
            (Kind::Cgroup, &self.cgroup),
            (Kind::Time, &self.time),
        ];
        let mut kinds = Kinds::NONE;
        for (kind, file) in asked {
            match file.as_deref() {
                None => {}
                Some(file) if file.is_empty() => kinds.insert(kind),
                Some(file) => return Err(persistent(kind, file)),
            }
        }
        if self.mount_proc.is_some() {
            kinds.insert(Kind::Mount);
        }
        if self.maps_ids() {
            kinds.insert(Kind::User);
        }
        Ok(kinds)
    }

    const fn maps_ids(&self) -> bool {
        self.map_user.is_some()
            || self.map_group.is_some()
            || self.map_root_user
            || self.map_current_user
            || self.map_auto
            || self.map_subids
            || !self.map_users.is_empty()
            || !self.map_groups.is_empty()
    }

    fn ranges(&self, texts: &[String]) -> Result<Vec<MapRange>, UsageError> {
        let mut all = texts.iter().map(|text| map_range(text)).collect::<Result<Vec<_>, _>>()?;
        all.extend(self.map_auto.then_some(MapRange::Auto));
        all.extend(self.map_subids.then_some(MapRange::Subids));
        Ok(all)
    }
}

fn persistent(kind: Kind, file: &OsStr) -> UsageError {
    UsageError::Persistent { kind: kind.option(), file: file.to_string_lossy().into_owned() }
}

fn map_target(text: &str) -> MapTarget {
    text.parse().map_or_else(|_| MapTarget::Name(text.to_owned()), MapTarget::Id)
}

/// `INNER:OUTER:COUNT`, or `OUTER,INNER,COUNT` as util-linux 2.38 wrote it.
fn map_range(text: &str) -> Result<MapRange, UsageError> {
    match text {
        "auto" => return Ok(MapRange::Auto),
        "subids" => return Ok(MapRange::Subids),
        "all" => return Ok(MapRange::All),
        _ => {}
    }
    let numbers = |separator| {
        let fields: Option<Vec<u32>> = text.split(separator).map(|n| n.parse().ok()).collect();
        fields.and_then(|fields| <[u32; 3]>::try_from(fields).ok())
    };
    if let Some([inner, outer, count]) = numbers(':') {
        return Ok(MapRange::Range { inner, outer, count });
    }
    if let Some([outer, inner, count]) = numbers(',') {
        return Ok(MapRange::Range { inner, outer, count });
    }
    Err(UsageError::Mapping(text.to_owned()))
}

fn parse_signal(text: &str) -> Result<u8, UsageError> {
    signal::parse(text).ok_or_else(|| UsageError::Signal(text.to_owned()))
}

fn parse_setgroups(text: &str) -> Result<SetGroups, UsageError> {
    match text {
        "allow" => Ok(SetGroups::Allow),
        "deny" => Ok(SetGroups::Deny),
        _ => Err(UsageError::SetGroups(text.to_owned())),
    }
}

fn parse_propagation(text: &str) -> Result<Propagation, UsageError> {
    match text {
        "slave" => Ok(Propagation::Slave),
        "private" => Ok(Propagation::Private),
        "shared" => Ok(Propagation::Shared),
        "unchanged" => Ok(Propagation::Unchanged),
        _ => Err(UsageError::Propagation(text.to_owned())),
    }
}

fn number<T: std::str::FromStr>(
    text: Option<&str>,
    what: &'static str,
) -> Result<Option<T>, UsageError> {
    let parse =
        |text: &str| text.parse().map_err(|_| UsageError::Number { what, text: text.to_owned() });
    text.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

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
            ("--net=/run/n", "persistent namespaces (--net=/run/n) are not supported yet"),
        ] {
            assert_eq!(refused(args), text);
        }
    }

    #[test]
    fn offsets_may_be_negative() {
        assert_eq!(spec("-T --monotonic -5").monotonic, Some(-5));
        assert_eq!(spec("-T --boottime=-7").boottime, Some(-7));
    }
}
