//! macOS, as far as it differs from Linux.

use std::process::Command;

mod process;

pub(super) use process::{process_arguments, process_started};

/// The kernel does not offer that.
pub fn end_with_parent(_: &mut Command) {}

/// Physical memory in bytes (sysctl(3), `hw.memsize`).
pub fn memory_bytes() -> Option<u64> {
    sysctl("hw.memsize")?.parse().ok()
}

/// Memory in bytes that programs can take: half of all, for a Mac's count of
/// free pages leaves out what it gives up at once.
pub fn memory_available() -> Option<u64> {
    memory_bytes().map(|bytes| bytes / 2)
}

/// A name that changes when the host boots, and with nothing else.
pub fn boot_id() -> Option<String> {
    sysctl("kern.bootsessionuuid")
}

fn sysctl(name: &str) -> Option<String> {
    output(Command::new("/usr/sbin/sysctl").args(["-n", name]))
}

/// What a program prints, trimmed; nothing if it fails.
fn output(command: &mut Command) -> Option<String> {
    let out = command.output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Nothing to do: the system counts a program's pages only where they differ.
pub fn forget_start() {}

/// Nothing to do: the system takes what a heap does not use when it is short.
pub fn return_free_memory() {}

/// Whether TLS reads `SSL_CERT_FILE` of itself. macOS asks its keychain.
pub fn tls_reads_ssl_cert_file() -> bool {
    false
}
