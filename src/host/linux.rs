//! Linux, as far as it differs from macOS.

use std::fs;
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};

/// Has the kernel end a child when the thread that starts it ends.
pub fn end_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only prctl(2) is called.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}

/// Physical memory in bytes.
pub fn memory_bytes() -> Option<u64> {
    meminfo("MemTotal:")
}

/// Memory in bytes that programs can take without pushing others out (proc(5),
/// `MemAvailable`).
pub fn memory_available() -> Option<u64> {
    meminfo("MemAvailable:")
}

fn meminfo(field: &str) -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A name that changes when the host boots, and with nothing else.
pub fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// The arguments of a process, as one text.
pub(super) fn process_arguments(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// When a process was started, since the host's boot: with its number that names
/// it, for the number alone may come again. `None` when there is no such process.
pub(super) fn process_started(pid: u32) -> Option<Duration> {
    let line = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; field 22 is the 20th after it
    // (proc(5)), in hundredths of a second on every architecture.
    let end = line.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(&line[end + 1..]).ok()?;
    let ticks: u64 = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// Takes the parts of this program that its start has used out of its memory. What
/// is needed again comes back from the page cache. A start maps fifteen pages
/// beside each that it uses: a supervisor holds 11 MiB of files instead of 16.
pub fn forget_start() {
    let Ok(program) = std::env::current_exe() else { return };
    let Ok(maps) = fs::read_to_string("/proc/self/smaps") else { return };
    for Range { start, end } in unwritten(&maps, &program.to_string_lossy()) {
        // SAFETY: the range is this program's own file, which is mapped for as
        // long as it runs, and none of its pages is anybody's own: what is
        // dropped is read from the file again.
        #[allow(unsafe_code)]
        unsafe {
            nix::libc::madvise(start as *mut _, end - start, nix::libc::MADV_DONTNEED);
        }
    }
}

/// Gives the kernel what the heap holds and nobody uses: glibc keeps what a burst of
/// commands took for the next one (malloc_trim(3)).
pub fn return_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, by any thread.
    #[allow(unsafe_code)]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// The mappings of `file` that cannot be written and in which nothing was, not
/// even by the loader (proc(5), `/proc/pid/smaps`).
fn unwritten(maps: &str, file: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut range = None;
    for line in maps.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            [place, "r--p" | "r-xp", _, _, _, ..] if line.ends_with(&format!(" {file}")) => {
                range = addresses(place);
            }
            [_, access, _, _, _, ..] if access.len() == 4 => range = None,
            ["Anonymous:", "0", "kB"] => found.extend(range.take()),
            _ => {}
        }
    }
    found
}

fn addresses(place: &str) -> Option<Range<usize>> {
    let (start, end) = place.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    Some(address(start)?..address(end)?)
}

/// Whether TLS reads `SSL_CERT_FILE` of itself, in place of the system's CA
/// certificates (crate rustls-native-certs).
pub fn tls_reads_ssl_cert_file() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_wrote_is_forgotten() {
        let maps = "\
1000-3000 r--p 00000000 fe:00 9    /opt/a b/nsvm\nRss: 8 kB\nAnonymous:             0 kB
3000-5000 r-xp 00002000 fe:00 9    /opt/a b/nsvm\nRss: 8 kB\nAnonymous:             4 kB
5000-6000 rw-p 00004000 fe:00 9    /opt/a b/nsvm\nRss: 4 kB\nAnonymous:             0 kB
7000-8000 r-xp 00000000 fe:00 7    /lib/nsvm\nRss: 4 kB\nAnonymous:             0 kB
9000-a000 rw-p 00000000 00:00 0\nRss: 4 kB\nAnonymous:             0 kB\n";
        assert_eq!(unwritten(maps, "/opt/a b/nsvm"), vec![Range { start: 0x1000, end: 0x3000 }]);
        // Of this program, which goes on all the same.
        let program = std::env::current_exe().unwrap();
        let own = fs::read_to_string("/proc/self/smaps").unwrap();
        assert!(!unwritten(&own, &program.to_string_lossy()).is_empty());
        forget_start();
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn memory_that_nobody_uses_goes_back() {
        let own = || -> u64 {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        // Each that stays keeps glibc from returning what lies below it.
        let mut blocks: Vec<Vec<u8>> = (0..64 << 10).map(|_| vec![1; 1024]).collect();
        let mut at = 0..;
        blocks.retain(|_| at.next().is_some_and(|at: u32| at.is_multiple_of(64)));
        let before = own();
        return_free_memory();
        // In KiB; other tests run meanwhile.
        assert!(own() + (16 << 10) < before, "{before}, then {}", own());
        drop(blocks);
    }

    #[test]
    fn what_the_kernel_says_of_this_host_makes_sense() {
        let (all, free) = (memory_bytes().unwrap(), memory_available().unwrap());
        assert!(all > 64 << 20 && free > 0 && free <= all, "{free} of {all}");
        assert_eq!(boot_id(), boot_id());
        assert!(process_arguments(std::process::id()).is_some());
        let (init, own) = (process_started(1), process_started(std::process::id()));
        assert!(init.is_some() && init < own, "{init:?} {own:?}");
        assert_eq!(process_started(u32::MAX), None);
    }
}
