//! What one machine needs of the host.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::Finding;
use crate::app::Context;
use crate::app::image::verify::verify;
use crate::fs::is_locked;
use crate::host;
use crate::image::{Cache, chain};
use crate::machine::config::MachineConfig;
use crate::machine::event::Progress;
use crate::machine::status::Status;
use crate::qemu::port::free_port;
use crate::store::StoreError;

/// A machine whose file cannot be read.
pub fn unreadable(error: &StoreError) -> Finding {
    Finding::failed("config", error.to_string(), error.hint().unwrap_or_default())
}

pub fn examine(
    context: &Context,
    config: &MachineConfig,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> Vec<Finding> {
    let mut findings = vec![
        state(context, config),
        lock(context, config),
        disk(context, config),
        base(context, config, progress, interrupted),
        key(context, config),
    ];
    findings.extend(volumes(config));
    if context.store.status(&config.name) == Status::Stopped {
        findings.push(ports(context, config));
    }
    findings
}

fn state(context: &Context, config: &MachineConfig) -> Finding {
    match context.store.status(&config.name) {
        Status::Broken { reasons } => {
            let fix = format!("nsvm machine stop --force {}", config.name);
            Finding::failed("state", reasons.join("; "), fix)
        }
        Status::Stopped => {
            let fix = format!("nsvm machine start {}", config.name);
            Finding::warning("state", "stopped", fix)
        }
        status => Finding::ok("state", status.word()),
    }
}

fn lock(context: &Context, config: &MachineConfig) -> Finding {
    let path = context.store.paths(&config.name).lock();
    match is_locked(&path) {
        Ok(false) => Finding::ok("lock", "nobody is changing it"),
        Ok(true) => Finding::warning(
            "lock",
            "another nsvm command is changing it",
            "Wait for that command to end, or end it",
        ),
        Err(e) => Finding::failed(
            "lock",
            format!("\"{}\" cannot be locked: {e}", path.display()),
            "Make that file writable",
        ),
    }
}

fn disk(context: &Context, config: &MachineConfig) -> Finding {
    let path = context.store.paths(&config.name).overlay();
    let layers = match chain(&path) {
        Ok(layers) => layers,
        Err(e) if path.exists() => {
            let fix = format!(
                "Put it back from a backup, or remove the machine: nsvm machine rm {}",
                config.name
            );
            return Finding::failed("disk", e.to_string(), fix);
        }
        // Said below.
        Err(_) => Vec::new(),
    };
    let below: u64 = layers
        .iter()
        .filter_map(|layer| layer.metadata().ok())
        .map(|found| host::allocated_bytes(&found))
        .sum();
    match path.metadata() {
        Ok(found) => Finding::ok(
            "disk",
            format!(
                "{} of at most {} GiB are used",
                crate::machine::units::human_bytes(host::allocated_bytes(&found) + below),
                config.resources.disk_size.0
            ),
        ),
        Err(e) => Finding::failed(
            "disk",
            format!("\"{}\": {e}", path.display()),
            format!("Put it back, or remove the machine: nsvm machine rm {}", config.name),
        ),
    }
}

/// There, and still what its digest says.
fn base(
    context: &Context,
    config: &MachineConfig,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> Finding {
    const CHECK: &str = "base image";
    let found =
        Cache::open(&context.store.dirs().cache).and_then(|cache| cache.base(&config.image));
    if let Err(e) = found {
        return Finding::failed(CHECK, e.to_string(), e.hint().unwrap_or_default());
    }
    match verify(context, std::slice::from_ref(&config.image.sha256), progress, interrupted) {
        Ok((verdicts, _)) => match verdicts.into_iter().find_map(|verdict| verdict.problem) {
            None => Finding::ok(CHECK, format!("its SHA-256 is {}", config.image.sha256)),
            Some(bad) => Finding::failed(CHECK, bad.message, bad.hint.unwrap_or_default()),
        },
        Err(e) => Finding::skipped(CHECK, format!("it was not read to its end: {e:#}")),
    }
}

/// ssh(1) refuses keys that others can read, and so should everybody.
fn key(context: &Context, config: &MachineConfig) -> Finding {
    let path = context.store.paths(&config.name).identity();
    let shown = path.display();
    match host::is_owners_alone(&path) {
        Ok(true) => Finding::ok("key", shown.to_string()),
        Ok(false) => Finding::failed(
            "key",
            format!("others may read \"{shown}\""),
            format!("chmod 600 \"{shown}\""),
        ),
        Err(e) => Finding::failed(
            "key",
            format!("\"{shown}\": {e}"),
            "Put the key back: without it nobody gets into the machine",
        ),
    }
}

fn volumes(config: &MachineConfig) -> Vec<Finding> {
    let finding = |source: &str| {
        if Path::new(source).is_dir() {
            return Finding::ok("volume", source);
        }
        let fix = format!("Put it back, or nsvm machine set --volume SRC:DST {}", config.name);
        Finding::failed("volume", format!("\"{source}\" is no directory"), fix)
    };
    config.volumes.iter().map(|volume| finding(&volume.source)).collect()
}

/// Of the next start.
fn ports(context: &Context, config: &MachineConfig) -> Finding {
    let ssh = context.store.history(&config.name).ssh_port.unwrap_or(config.ssh.port);
    let all = std::iter::once(ssh).chain(config.ports.iter().map(|port| port.host));
    let is_taken = |port: &u16| free_port(Some(*port)).is_ok_and(|free| free != *port);
    let taken: Vec<String> = all.clone().filter(is_taken).map(|port| port.to_string()).collect();
    if taken.is_empty() {
        let all: Vec<String> = all.map(|port| port.to_string()).collect();
        return Finding::ok("ports", format!("{} can be had", all.join(", ")));
    }
    Finding::warning(
        "ports",
        format!("somebody else has {}: the next start takes others", taken.join(", ")),
        "End the program that listens there, or leave it as it is",
    )
}
