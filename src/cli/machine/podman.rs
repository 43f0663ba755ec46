//! Options of podman that say nothing here, or nothing that can be had: taken
//! or refused by name, so that scripts for podman run or say why not.

use crate::app::Refusal;

/// Those of `init`.
#[derive(Debug, clap::Args)]
pub struct InitOptions {
    /// Accepted for podman's sake if it is qemu
    #[arg(long, hide_short_help = true, value_name = "NAME")]
    provider: Option<String>,
    /// Accepted for podman's sake if it is true
    #[arg(long, hide_short_help = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    tls_verify: Option<bool>,
    /// Accepted for podman's sake, and ignored as there
    #[arg(long, hide_short_help = true, value_name = "DRIVER")]
    volume_driver: Option<String>,
    #[command(flatten)]
    of_set: SetOptions,
}

/// Those of `set`, and of `init` too.
#[derive(Debug, clap::Args)]
pub struct SetOptions {
    /// Accepted for podman's sake: the network is always QEMU's user-mode one
    #[arg(long, hide_short_help = true, num_args = 0..=1, require_equals = true)]
    #[arg(value_name = "BOOL", default_missing_value = "true")]
    user_mode_networking: Option<bool>,
    /// Refused: QEMU of a user may not open devices of the host
    #[arg(long, hide_short_help = true, value_name = "DEVICE")]
    usb: Vec<String>,
}

impl InitOptions {
    /// What cannot be had is refused.
    pub fn check(&self) -> Result<(), Refusal> {
        if let Some(other) = self.provider.as_ref().filter(|name| *name != "qemu") {
            return Err(Refusal::new(format!("unsupported provider \"{other}\""))
                .hint("Leave out --provider: qemu is the only one"));
        }
        if self.tls_verify == Some(false) {
            return Err(Refusal::new("--tls-verify=false is not possible")
                .hint("Name the authority of that server with --cacert FILE"));
        }
        self.of_set.check()
    }
}

impl SetOptions {
    /// What cannot be had is refused.
    pub fn check(&self) -> Result<(), Refusal> {
        // Some scripts name none.
        if self.usb.iter().all(String::is_empty) {
            return Ok(());
        }
        Err(Refusal::new("--usb is not possible: QEMU of a user may not open the host's devices")
            .hint("Leave it out"))
    }
}
