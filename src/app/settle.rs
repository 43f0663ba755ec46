//! What is left to do once a guest is up, from outside: see that its volumes
//! are there.

use std::io;

use anyhow::bail;

use super::capture::Capture;
use super::session::Stdio;
use super::{Context, Place, Refusal, run};
use crate::machine::config::MachineConfig;
use crate::machine::name::MachineName;
use crate::protocol::outcome::Outcome;
use crate::protocol::request::{ExecRequest, UserSpec};

/// The guest's answers are a few lines.
const ANSWER_MAX: usize = 64 * 1024;

/// A guest that does not answer is given up after this many seconds, in the
/// guest.
const PATIENCE: &str = "120";

/// Waits for the mounts, tries again what failed, and tells how it went.
const VOLUMES: &str = "systemctl start nsvm-settings.service 2>/dev/null
cat /run/nsvm-volumes 2>/dev/null || :";

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

/// What a shell script of root's prints in the guest.
pub fn ask_root(context: &Context, name: &MachineName, script: &str) -> anyhow::Result<String> {
    let taken = Capture::up_to(ANSWER_MAX);
    let stdio = Stdio {
        stdin: Box::new(io::empty()),
        stdout: Box::new(taken.clone()),
        stderr: Box::new(io::stderr()),
    };
    let mut request = ExecRequest::new(["timeout", PATIENCE, "sh", "-c", script]);
    request.user = Some(UserSpec { user: "root".into(), group: None });
    let place = Place::Machine { context: Box::new(context.clone()), name: name.clone() };
    let outcome = run::run_on(&place, request, stdio)?;
    if outcome != Outcome::Exited(0) {
        bail!("a command of nsvm's in machine \"{name}\" failed ({outcome:?})");
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
