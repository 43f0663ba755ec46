//! One file for a bug report: findings, configs and logs, no secrets.
//!
//! Keys, Ignition configs, seeds and the guest's environment never go in; all
//! that does is text and redacted.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::Finding;
use super::redact::redact;
use crate::app::Context;
use crate::app::info::Info;
use crate::app::new_file::NewFile;
use crate::machine::name::MachineName;

/// Of a log the end counts.
const LOG_MAX: u64 = 1 << 20;

/// Writes a tar, compressed with gzip.
pub fn bundle(
    context: &Context,
    names: &[MachineName],
    info: &Info,
    findings: &[Finding],
    file: NewFile,
) -> anyhow::Result<()> {
    let writing = || format!("writing \"{}\"", file.path().display());
    let mut tar = Builder::new(GzEncoder::new(file.file(), Compression::default()));
    let mut add = |name: &str, text: &str| -> anyhow::Result<()> {
        let text = redact(text);
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        let name = format!("nsvm-report/{name}");
        tar.append_data(&mut header, name, text.as_bytes()).with_context(writing)
    };
    add("info.json", &serde_json::to_string_pretty(info)?)?;
    add("doctor.json", &serde_json::to_string_pretty(findings)?)?;
    for (name, path) in texts(context, names) {
        if let Some(text) = end_of(&path) {
            add(&name, &text)?;
        }
    }
    tar.into_inner().and_then(GzEncoder::finish).with_context(writing)?;
    file.keep()
}

/// What is told of each machine, and the settings.
fn texts(context: &Context, names: &[MachineName]) -> Vec<(String, PathBuf)> {
    let dirs = context.store.dirs();
    let mut all = vec![
        ("nsvm.toml".to_owned(), dirs.settings()),
        ("accelerators.json".to_owned(), dirs.probe_cache()),
    ];
    for name in names {
        let paths = context.store.paths(name);
        let of_it = [
            ("config.json", paths.config()),
            ("history.json", paths.history()),
            ("run.json", paths.run_record()),
            ("serial.log", paths.serial_log()),
            ("supervisor.log", paths.supervisor_log()),
            ("qemu.log", paths.qemu_log()),
        ];
        all.extend(of_it.map(|(inner, path)| (format!("{name}/{inner}"), path)));
    }
    all
}

/// The last of a file, if there is one; what is not UTF-8 is replaced.
fn end_of(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = fs::metadata(path).ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_MAX))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
