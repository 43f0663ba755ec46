//! The options that set up new namespaces, whatever then runs in them.

use std::ffi::OsString;

use serde_bytes::ByteBuf;

use super::values::{number, parse_propagation};
use super::{IdMapOptions, NetworkOptions, OptionError, bytes};
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::spec::NamespaceSpec;

/// Where the kernel offers to mount `binfmt_misc`.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Each option alone; [`CreateOptions::spec`] says what they mean together.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CreateOptions {
    /// Mount proc first, on /proc or DIR (implies --mount)
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "/proc")]
    mount_proc: Option<OsString>,
    /// Mount binfmt_misc first, on /proc/sys/fs/binfmt_misc or DIR (implies
    /// --user and --mount)
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = BINFMT)]
    mount_binfmt: Option<OsString>,
    /// Register an interpreter, as binfmt_misc reads it (implies
    /// --mount-binfmt)
    #[arg(short = 'l', long, value_name = "LINE")]
    load_interp: Option<OsString>,
    /// Mount propagation: slave, shared, private or unchanged
    #[arg(long, value_name = "MODE")]
    propagation: Option<String>,
    #[command(flatten)]
    network: NetworkOptions,
    #[command(flatten)]
    ids: IdMapOptions,
    /// Offset of the monotonic clock in the time namespace
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    monotonic: Option<String>,
    /// Offset of the boot time clock in the time namespace
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    boottime: Option<String>,
}

impl CreateOptions {
    /// New namespaces of these kinds, and of those that the options imply.
    pub fn spec(&self, asked: Kinds) -> Result<NamespaceSpec, OptionError> {
        let (network, kinds) = self.network.resolve(asked.union(self.implied()))?;
        let spec = NamespaceSpec {
            kinds,
            network,
            propagation: self.propagation.as_deref().map(parse_propagation).transpose()?,
            mount_proc: self.proc_dir(),
            mount_binfmt: self.binfmt_dir(),
            load_interp: self.load_interp.as_deref().map(bytes),
            monotonic: number(self.monotonic.as_deref(), "monotonic offset")?,
            boottime: number(self.boottime.as_deref(), "boottime offset")?,
            ..self.ids.spec()?
        };
        if (spec.monotonic.is_some() || spec.boottime.is_some()) && !spec.wants(Kind::Time) {
            return Err(OptionError::OffsetsWithoutTime);
        }
        Ok(spec)
    }

    /// Whether the network shall be the one that is there.
    pub fn is_network_host(&self) -> bool {
        self.network.is_host()
    }

    fn implied(&self) -> Kinds {
        let binfmt = self.mount_binfmt.is_some() || self.load_interp.is_some();
        let mount = (self.mount_proc.is_some() || binfmt).then_some(Kind::Mount);
        let user = (self.ids.imply_user() || binfmt).then_some(Kind::User);
        mount.into_iter().chain(user).collect()
    }

    /// Where proc is mounted: binfmt_misc at its own place needs it.
    fn proc_dir(&self) -> Option<ByteBuf> {
        let own = self.mount_binfmt.as_ref().is_some_and(|dir| dir != BINFMT);
        let needed = !own && self.binfmt_dir().is_some();
        let implied = needed.then(|| ByteBuf::from(b"/proc".to_vec()));
        self.mount_proc.as_deref().map(bytes).or(implied)
    }

    fn binfmt_dir(&self) -> Option<ByteBuf> {
        let implied = self.load_interp.as_ref().map(|_| ByteBuf::from(BINFMT.as_bytes().to_vec()));
        self.mount_binfmt.as_deref().map(bytes).or(implied)
    }
}
