//! What differs between host systems: files with the same functions, chosen
//! here and nowhere else.

#[cfg(unix)]
mod arguments;
#[cfg(feature = "host")]
mod bounded;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
mod text;
#[cfg(feature = "host")]
mod tsc;
mod typed;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(feature = "host")]
pub use bounded::Bounded;
#[cfg(target_os = "linux")]
pub use linux::*;
#[cfg(target_os = "macos")]
pub use macos::*;
#[cfg(feature = "host")]
pub use tsc::tsc_khz;
#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;

/// How to end a process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It may clean up first.
    Polite,
    /// At once.
    Forced,
}

/// Whether this host's own kernel is one that the agent runs on.
pub const HAS_NAMESPACES: bool = cfg!(target_os = "linux");

/// Whether QEMU can show directories of this host to a guest (9p).
pub const SHARES_DIRECTORIES: bool = cfg!(unix);

/// CPUs this process may use, at least 1.
pub fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}
