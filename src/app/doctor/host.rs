//! What every machine of this host needs.

use super::Finding;
use crate::app::{Context, info};
use crate::host;
use crate::machine::config::Arch;
use crate::machine::event::Progress;
use crate::machine::paths::sockets_fit;
use crate::machine::units::human_bytes;
use crate::qemu::accel::Accelerator;
use crate::qemu::facts::{Facts, FactsError};

/// A guest that fills its disk stops; this much lets it go on for a while.
const LITTLE_ROOM: u64 = 2 << 30;

pub fn examine(context: &Context, progress: &dyn Progress) -> Vec<Finding> {
    let mut findings = qemu(info::survey(context, progress));
    findings.push(agent(context));
    findings.push(room(context));
    findings.push(sockets(context));
    findings
}

fn qemu(found: Result<Facts, FactsError>) -> Vec<Finding> {
    let facts = match found {
        Ok(facts) => facts,
        Err(e) => {
            let fix = e.hint().unwrap_or_default();
            return vec![Finding::failed("qemu", e.to_string(), fix)];
        }
    };
    let program = facts.qemu.path().display();
    let firmware = facts.firmware.as_ref().map(|f| f.code().display().to_string());
    vec![
        Finding::ok("qemu", format!("{program} {}", facts.qemu.features.version)),
        Finding::ok("firmware", firmware.unwrap_or_else(|| "QEMU's own".to_owned())),
        accelerator(&facts),
    ]
}

fn accelerator(facts: &Facts) -> Finding {
    let used = facts.choice.in_use;
    let rejected = &facts.choice.rejected;
    if used != Accelerator::Tcg {
        return Finding::ok("accelerator", used.name());
    }
    let reasons: Vec<String> =
        rejected.iter().map(|one| format!("{}: {}", one.name, one.reason)).collect();
    let detail = format!("guests are translated (tcg); {}", reasons.join("; "));
    let fix = rejected.iter().find_map(|one| one.hint.clone());
    Finding::warning("accelerator", detail, fix.unwrap_or_default())
}

fn agent(context: &Context) -> Finding {
    match context.agent_for(Arch::host()) {
        Ok(path) if path.is_file() => Finding::ok("agent", path.display().to_string()),
        Ok(path) => Finding::failed(
            "agent",
            format!("\"{}\" is no file", path.display()),
            "Set NSVM_AGENT to the guest agent, or unset it",
        ),
        Err(e) => Finding::failed("agent", e.message, e.hint.unwrap_or_default()),
    }
}

fn room(context: &Context) -> Finding {
    let dirs = context.store.dirs();
    let mut there = dirs.data.as_path();
    while let (false, Some(parent)) = (there.exists(), there.parent()) {
        there = parent;
    }
    match host::disk_space(there) {
        Ok((free, _)) if free < LITTLE_ROOM => Finding::warning(
            "disk space",
            format!("{} are free for disks in \"{}\"", human_bytes(free), dirs.data.display()),
            "Free some space, as with `nsvm image prune`",
        ),
        Ok((free, _)) => Finding::ok("disk space", format!("{} are free", human_bytes(free))),
        Err(e) => Finding::skipped("disk space", format!("this host does not tell ({e})")),
    }
}

fn sockets(context: &Context) -> Finding {
    let runtime = &context.store.dirs().runtime;
    if sockets_fit(runtime) {
        return Finding::ok("sockets", runtime.display().to_string());
    }
    let detail = format!("the path \"{}\" is too long for sockets", runtime.display());
    Finding::failed("sockets", detail, "Set NSVM_HOME to a directory with a shorter path")
}
