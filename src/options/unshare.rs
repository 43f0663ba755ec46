//! The options of unshare(1).

use std::ffi::OsString;

use super::values::{number, parse_signal};
use super::{CreateOptions, KindFiles, OptionError, bytes};
use crate::namespace::spec::NamespaceSpec;

/// Each option alone; [`UnshareOptions::spec`] says what they mean together.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct UnshareOptions {
    #[command(flatten)]
    kinds: KindFiles,
    /// Fork before running PROGRAM
    #[arg(short, long)]
    fork: bool,
    /// When dying, kill the forked child with SIGKILL or this signal
    /// (implies --fork)
    #[arg(long, value_name = "SIGNAL", num_args = 0..=1, require_equals = true, default_missing_value = "KILL")]
    kill_child: Option<String>,
    /// Pass SIGTERM and SIGINT on to the forked child (implies --fork)
    #[arg(long)]
    forward_signals: bool,
    #[command(flatten)]
    create: CreateOptions,
    /// Run with DIR as the root directory
    #[arg(short = 'R', long, value_name = "DIR")]
    root: Option<OsString>,
    /// Change the working directory to DIR
    #[arg(short, long, value_name = "DIR")]
    wd: Option<OsString>,
    /// Set the user id in the namespace
    #[arg(short = 'S', long, value_name = "UID")]
    setuid: Option<String>,
    /// Set the group id in the namespace
    #[arg(short = 'G', long, value_name = "GID")]
    setgid: Option<String>,
    /// Keep the capabilities granted in the user namespace
    #[arg(long)]
    keep_caps: bool,
}

impl UnshareOptions {
    /// The namespaces, implications included.
    pub fn spec(&self) -> Result<NamespaceSpec, OptionError> {
        let created = self.create.spec(self.kinds.kinds())?;
        Ok(NamespaceSpec {
            persist: self.kinds.files(),
            fork: self.fork || self.kill_child.is_some() || self.forward_signals,
            kill_child: self.kill_child.as_deref().map(parse_signal).transpose()?,
            forward_signals: self.forward_signals,
            root: self.root.as_deref().map(bytes),
            wd: self.wd.as_deref().map(bytes),
            setuid: number(self.setuid.as_deref(), "uid")?,
            setgid: number(self.setgid.as_deref(), "gid")?,
            keep_caps: self.keep_caps,
            ..created
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::namespace::kind::Kind;
    use crate::namespace::spec::{MapRange, MapTarget};
    use crate::protocol::signal;

    #[derive(Debug, Parser)]
    #[command(infer_long_args = true, args_override_self = true)]
    struct Cli {
        #[command(flatten)]
        args: UnshareOptions,
    }

    fn parse(args: &str) -> UnshareOptions {
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
