//! What is left to do once a guest is up, from outside: see that its volumes
//! are there, give its root what the disk has gained, run its playbook.

use std::fs::File;
use std::io;

use anyhow::{Context as _, bail};

use super::capture::Capture;
use super::session::Stdio;
use super::{Context, Place, Refusal, run};
use crate::machine::config::MachineConfig;
use crate::machine::event::Progress;
use crate::machine::name::MachineName;
use crate::machine::units::human_bytes;
use crate::protocol::outcome::Outcome;
use crate::protocol::request::{ExecRequest, UserSpec};
use crate::store::History;

/// The guest's answers are a few lines.
const ANSWER_MAX: usize = 64 * 1024;

/// A guest that does not answer is given up after this many seconds, in the
/// guest.
const PATIENCE: &str = "120";

/// Waits for the mounts, tries again what failed, and tells how it went.
/// Where cloud-init has not brought the unit yet, for a minute. An early start
/// (`images/debian-local/early`) has done it, and there is no systemd yet; where
/// there never is, what a resume does at the same time is waited for.
const VOLUMES: &str = "i=0
if [ ! -e /run/nsvm/early ]; then
    until systemctl start nsvm-settings.service 2>/dev/null ||
        [ -e /run/nsvm-volumes ] || [ $((i += 1)) -gt 60 ]; do sleep 1; done
elif ! command -v systemctl >/dev/null; then
    flock /run/nsvm-settings sh /etc/nsvm/settings.sh >/dev/null 2>&1
fi
cat /run/nsvm-volumes 2>/dev/null || :";

const GROW: &str = include_str!("../../machine-config/guest/grow.sh");

/// As sh(1) says that there is no such program.
const NO_ANSIBLE: u8 = 127;

/// Where podman leaves it too.
const PLAY: &str = "umask 077; cat >playbook.yaml || exit 1
command -v ansible-playbook >/dev/null || exit 127
exec ansible-playbook -i localhost, -c local playbook.yaml </dev/null";

/// Refuses a guest that lacks one of its volumes.
pub fn check_volumes(context: &Context, config: &MachineConfig) -> anyhow::Result<()> {
    if config.volumes.is_empty() {
        return Ok(());
    }
    let told = ask_root(context, &config.name, VOLUMES)?;
    for volume in &config.volumes {
        if let Some(why) = missing(&told, &volume.target) {
            let name = &config.name;
            let text = format!(
                "the guest of \"{name}\" cannot mount the volume \"{}\": {why}",
                volume.target
            );
            let hint = format!(
                "Use an image whose kernel has 9p, or take the volumes away with \
                 `nsvm machine set --volume \"\" {name}`"
            );
            return Err(Refusal::new(text).hint(hint).into());
        }
    }
    Ok(())
}

/// Shares the disk's growth out, and says what came of it.
pub fn grow(
    context: &Context,
    config: &MachineConfig,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let name = &config.name;
    if !context.store.history(name).grown || !config.provisioning.is_ours() {
        return Ok(());
    }
    let size = ask_root(context, name, GROW)?;
    let size: u64 = size.trim().parse().context("reading the size of the guest's root")?;
    let disk = config.resources.disk_size;
    progress.note(format!(
        "The disk has {} GiB now, the file system of the guest's root {}",
        disk.0,
        human_bytes(size)
    ));
    // A file system keeps some for itself, and other partitions have theirs.
    if size < disk.bytes() / 10 * 8 {
        progress.warn("the root did not grow with its disk: see to it in the guest");
    }
    let history = History { grown: false, ..context.store.history(name) };
    Ok(context.store.save_history(name, &history)?)
}

/// Runs the playbook that `init` was given, once, as the guest's user. What it
/// prints goes to stderr.
pub fn play(
    context: &Context,
    config: &MachineConfig,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let name = &config.name;
    let path = context.store.paths(name).playbook();
    let history = context.store.history(name);
    if history.played || !path.exists() {
        return Ok(());
    }
    let playbook = File::open(&path).with_context(|| format!("reading \"{}\"", path.display()))?;
    progress.step("Running the playbook");
    let stdio = Stdio {
        stdin: Box::new(playbook),
        stdout: Box::new(io::stderr()),
        stderr: Box::new(io::stderr()),
    };
    let place = Place::Machine { context: Box::new(context.clone()), name: name.clone() };
    let outcome = run::run_on(&place, ExecRequest::new(["sh", "-c", PLAY]), stdio)?;
    context.store.save_history(name, &History { played: true, ..context.store.history(name) })?;
    let again = format!("nsvm machine ssh {name} ansible-playbook -i localhost, playbook.yaml");
    match outcome {
        Outcome::Exited(0) => Ok(()),
        Outcome::Exited(NO_ANSIBLE) => {
            let text =
                format!("machine \"{name}\" runs, but its image has no Ansible for the playbook");
            let hint = format!("Install Ansible in the guest, then run it: `{again}`");
            Err(Refusal::new(text).hint(hint).into())
        }
        outcome => {
            let text = format!("machine \"{name}\" runs, but its playbook failed ({outcome:?})");
            Err(Refusal::new(text).hint(format!("Mend it and run it again: `{again}`")).into())
        }
    }
}

/// Why this target is not mounted, in the guest's words.
fn missing(told: &str, target: &str) -> Option<String> {
    if told.lines().any(|line| line.strip_prefix('+') == Some(target)) {
        return None;
    }
    let failed = format!("-{target}: ");
    let why = told.lines().find_map(|line| line.strip_prefix(failed.as_str()));
    let why = why.unwrap_or("it was made by an nsvm that knew no volumes");
    Some(why.chars().filter(|c| !c.is_control()).take(300).collect())
}

/// What a shell script of root's prints in the guest. What it says on stderr
/// counts only where it fails.
pub fn ask_root(context: &Context, name: &MachineName, script: &str) -> anyhow::Result<String> {
    let (taken, said) = (Capture::up_to(ANSWER_MAX), Capture::up_to(ANSWER_MAX));
    let stdio = Stdio {
        stdin: Box::new(io::empty()),
        stdout: Box::new(taken.clone()),
        stderr: Box::new(said.clone()),
    };
    let mut request = ExecRequest::new(["timeout", PATIENCE, "sh", "-c", script]);
    request.user = Some(UserSpec { user: "root".into(), group: None });
    let place = Place::Machine { context: Box::new(context.clone()), name: name.clone() };
    let outcome = run::run_on(&place, request, stdio)?;
    if outcome != Outcome::Exited(0) {
        let said = String::from_utf8_lossy(&said.bytes().unwrap_or_default()).into_owned();
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        let safe: String = last.chars().filter(|c| !c.is_control()).take(300).collect();
        bail!("a command of nsvm's in machine \"{name}\" failed ({outcome:?}): {safe}");
    }
    Ok(String::from_utf8_lossy(&taken.bytes().unwrap_or_default()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_there_only_if_the_guest_says_so() {
        let told = "+/a b\n-/c: its kernel has no 9p\n";
        assert_eq!(missing(told, "/a b"), None);
        assert_eq!(missing(told, "/c").unwrap(), "its kernel has no 9p");
        assert!(missing(told, "/a").unwrap().contains("knew no volumes"));
    }
}
