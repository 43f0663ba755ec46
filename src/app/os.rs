//! Changing the operating system of guests that boot from an image as a whole.

use super::session;
use super::start::{StartRequest, start};
use super::stop::{PATIENCE, StopRequest, stop};
use super::{Context, Place, Refusal, run};
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::protocol::outcome::Outcome;
use crate::protocol::request::{ExecRequest, UserSpec};
use std::sync::atomic::AtomicBool;

/// What shall become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OsChange {
    /// The image of this name (`quay.io/podman/machine-os:5.6`).
    Apply(String),
    /// The newest of what it has.
    Upgrade,
}

/// The script's answer of a guest that has neither program, or boots otherwise.
const NO_IMAGE: u8 = 90;

/// bootc(8) where there is one, else rpm-ostree(1); both keep the running
/// system, and the next boot has the new one.
const SCRIPT: &str = r#"[ -e /run/ostree-booted ] || exit 90
case $1 in
apply)
    if command -v bootc >/dev/null; then exec bootc switch "$2"; fi
    command -v rpm-ostree >/dev/null || exit 90
    exec rpm-ostree rebase "ostree-unverified-registry:$2"
    ;;
upgrade)
    if command -v bootc >/dev/null; then exec bootc upgrade; fi
    command -v rpm-ostree >/dev/null || exit 90
    exec rpm-ostree upgrade
    ;;
esac"#;

/// Prepares the other system; what the guest's program prints goes to this
/// process's own streams.
pub fn change(context: &Context, name: &MachineName, change: &OsChange) -> anyhow::Result<()> {
    context.store.load(name)?;
    let arguments = match change {
        OsChange::Apply(image) => vec!["apply", checked(image)?],
        OsChange::Upgrade => vec!["upgrade"],
    };
    let argv = ["sh", "-c", SCRIPT, "nsvm"].into_iter().chain(arguments);
    let mut request = ExecRequest::new(argv);
    request.user = Some(UserSpec { user: "root".into(), group: None });
    let place = Place::Machine { context: Box::new(context.clone()), name: name.clone() };
    match run::run_on(&place, request, session::Stdio::of_process())? {
        Outcome::Exited(0) => Ok(()),
        Outcome::Exited(NO_IMAGE) => Err(no_image(name).into()),
        outcome => Err(Refusal::new(format!(
            "the operating system of \"{name}\" was not changed ({outcome:?})"
        ))
        .hint("See what the guest said above")
        .into()),
    }
}

/// The next boot, now.
pub fn restart(
    context: &Context,
    name: &MachineName,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> anyhow::Result<()> {
    stop(context, name, StopRequest { force: false, timeout: PATIENCE }, progress)?;
    start(context, name, StartRequest::default(), progress, interrupted)
}

/// An image's name is no option and no more than one word.
fn checked(image: &str) -> Result<&str, Refusal> {
    let name = image.strip_prefix("docker://").unwrap_or(image);
    if name.is_empty() || name.starts_with('-') || name.contains(char::is_whitespace) {
        return Err(Refusal::new(format!("\"{image}\" is no name of an image"))
            .hint("Name one of a registry, such as quay.io/podman/machine-os:5.6"));
    }
    Ok(name)
}

fn no_image(name: &MachineName) -> Refusal {
    let text = format!(
        "the guest of \"{name}\" does not boot from an image as a whole: it has no bootc or rpm-ostree"
    );
    Refusal::new(text)
        .hint(format!("Use its own package manager, as in `nsvm machine ssh {name} sudo ...`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_one_word_and_no_option() {
        assert_eq!(checked("docker://quay.io/a/b:1").unwrap(), "quay.io/a/b:1");
        for bad in ["", "-x", "a b", "docker://"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
