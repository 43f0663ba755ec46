//! `nsvm machine doctor`

use std::path::PathBuf;

use crate::app::doctor::{Finding, Verdict, bundle, examine};
use crate::app::new_file::NewFile;
use crate::app::{Refusal, info};
use crate::cli::printer::{Printer, Verbosity};
use crate::cli::{environment, interrupt, report};
use crate::machine::name::MachineName;

/// Look for reasons why machines do not work, and say what mends each
///
/// Nothing is changed. Base images are read whole and compared with their
/// digests. Exits 125 when a check has failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  nsvm machine doctor work\n  \
                        nsvm machine doctor --bundle report.tar.gz")]
pub struct DoctorArgs {
    /// How to print it: text or json
    #[arg(short, long, value_name = "FORMAT", default_value = "text", hide_default_value = true)]
    #[arg(value_parser = ["text", "json"])]
    format: String,
    /// Write findings, configs and logs to this file (tar.gz) for a bug
    /// report, without keys and passwords
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The machines [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<MachineName>,
}

pub fn run(args: &DoctorArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let interrupted = interrupt::flag();
    let quiet = Printer::new(Verbosity::Quiet);
    // Before minutes of reading.
    let file = args.bundle.as_deref().map(NewFile::create).transpose()?;
    let findings = examine(&context, &args.names, &quiet, &interrupted)?;
    if args.format == "json" {
        outln!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        findings.iter().for_each(show);
    }
    if let Some(file) = file {
        let path = file.path().to_owned();
        let names = if args.names.is_empty() { all(&context)? } else { args.names.clone() };
        let info = info::info(&context, &quiet)?;
        bundle(&context, &names, &info, &findings, file)?;
        report::note(&format!("Look through \"{}\" before you send it", path.display()));
    }
    let failed = findings.iter().filter(|finding| finding.status == Verdict::Failed).count();
    if failed > 0 {
        return Err(Refusal::new(format!("{failed} of {} checks failed", findings.len())).into());
    }
    Ok(0)
}

fn all(context: &crate::app::Context) -> anyhow::Result<Vec<MachineName>> {
    Ok(context.store.list()?.0.into_iter().map(|config| config.name).collect())
}

/// Two lines at most: what was found, and what mends it.
fn show(finding: &Finding) {
    let word = match finding.status {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Failed => "FAILED",
        Verdict::Skipped => "skipped",
    };
    let whose = if finding.machine.is_empty() { "host" } else { &finding.machine };
    let detail: String = finding.detail.chars().filter(|c| !c.is_control()).collect();
    outln!("{word:<8} {whose}: {}: {detail}", finding.check);
    if !finding.fix.is_empty() {
        outln!("         -> {}", finding.fix);
    }
}
