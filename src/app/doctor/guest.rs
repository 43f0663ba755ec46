//! What a running machine's guest says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Finding;
use crate::app::{Context, Place, run, settle};
use crate::machine::config::MachineConfig;
use crate::machine::status::Status;

/// Certificates, `make` and time stamps of shared files mind more than this.
const DRIFT_MAX: Duration = Duration::from_secs(2);

pub fn examine(context: &Context, config: &MachineConfig) -> Vec<Finding> {
    if context.store.status(&config.name) != Status::Running {
        return vec![Finding::skipped("guest", "it is not running")];
    }
    if let Some(option) = config.provisioning.kept_out_by() {
        let text = format!("nothing of nsvm is in it ({option})");
        return vec![Finding::skipped("guest", text)];
    }
    let place = Place::Machine { context: Box::new(context.clone()), name: config.name.clone() };
    let info = match run::info(&place) {
        Ok(info) => info,
        Err(e) => {
            let fix = format!("nsvm machine logs {0}; nsvm machine restart {0}", config.name);
            return vec![Finding::failed("guest", format!("{e:#}"), fix)];
        }
    };
    drop(info);
    vec![Finding::ok("guest", "its agent answers"), agent(context, config), clock(context, config)]
}

fn agent(context: &Context, config: &MachineConfig) -> Finding {
    let record = context.store.run_record(&config.name).and_then(|run| run.agent);
    match record {
        Some(agent) if agent.version == env!("CARGO_PKG_VERSION") => {
            Finding::ok("agent version", agent.version)
        }
        Some(agent) => Finding::warning(
            "agent version",
            format!("{} is there, this nsvm is {}", agent.version, env!("CARGO_PKG_VERSION")),
            format!("nsvm machine restart {}", config.name),
        ),
        None => Finding::skipped("agent version", "the supervisor has not noted it"),
    }
}

/// The guest's time against ours in the middle of asking.
fn clock(context: &Context, config: &MachineConfig) -> Finding {
    const CHECK: &str = "clock";
    let before = now();
    let told = match settle::ask_root(context, &config.name, "date +%s.%N") {
        Ok(told) => told,
        Err(e) => return Finding::skipped(CHECK, format!("{e:#}")),
    };
    let after = now();
    let Ok(guest) = told.trim().parse::<f64>() else {
        return Finding::skipped(CHECK, "the guest's date(1) says something else");
    };
    let off = drift(guest, before, after);
    let detail = format!("it is {off:.1} s off");
    if off <= DRIFT_MAX.as_secs_f64() {
        return Finding::ok(CHECK, detail);
    }
    // GNU date(1) reads seconds behind an at sign.
    let fix = format!("nsvm machine ssh {} -- sudo date -s @$(date +%s)", config.name);
    Finding::warning(CHECK, detail, fix)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Seconds between a time and the span in which it was asked for.
fn drift(guest: f64, before: f64, after: f64) -> f64 {
    if guest < before { before - guest } else { (guest - after).max(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_is_no_drift() {
        assert!(drift(105.0, 100.0, 110.0) < 0.01);
        assert!((drift(90.0, 100.0, 110.0) - 10.0).abs() < 0.01);
        assert!((drift(115.0, 100.0, 110.0) - 5.0).abs() < 0.01);
    }
}
