//! Every reason why a machine may not work, each with the command that mends
//! it. Nothing is changed here.

mod bundle;
mod guest;
mod host;
mod machine;
mod redact;

use std::sync::atomic::AtomicBool;

use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::machine::event::Progress;
use crate::machine::name::MachineName;

pub use bundle::bundle;

/// How one check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// Works, but not as well as it could.
    Warning,
    Failed,
    /// Cannot be told now.
    Skipped,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    pub check: String,
    /// Empty for what concerns the host.
    pub machine: String,
    pub status: Verdict,
    /// What was found.
    pub detail: String,
    /// What mends it; empty where nothing need be done.
    pub fix: String,
}

impl Finding {
    fn new(check: &str, status: Verdict, detail: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            machine: String::new(),
            status,
            detail: detail.into(),
            fix: String::new(),
        }
    }

    fn ok(check: &str, detail: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, detail)
    }

    fn warning(check: &str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), ..Self::new(check, Verdict::Warning, detail) }
    }

    fn failed(check: &str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), ..Self::new(check, Verdict::Failed, detail) }
    }

    fn skipped(check: &str, detail: impl Into<String>) -> Self {
        Self::new(check, Verdict::Skipped, detail)
    }

    fn of(self, machine: &MachineName) -> Self {
        Self { machine: machine.to_string(), ..self }
    }
}

/// Looks at the host and at the machines: those named, or else all.
pub fn examine(
    context: &Context,
    names: &[MachineName],
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = host::examine(context, progress);
    let (configs, bad) = context.store.list()?;
    for name in names {
        context.store.load(name)?;
    }
    let wanted = |name: &MachineName| names.is_empty() || names.contains(name);
    if names.is_empty() {
        findings.extend(bad.iter().map(machine::unreadable));
    }
    for config in configs.iter().filter(|config| wanted(&config.name)) {
        let of_one = machine::examine(context, config, progress, interrupted)
            .into_iter()
            .chain(guest::examine(context, config));
        findings.extend(of_one.map(|finding| finding.of(&config.name)));
    }
    Ok(findings)
}
